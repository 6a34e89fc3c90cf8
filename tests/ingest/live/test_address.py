"""Which addresses may be opened."""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AddressForbidden, SettingsError, SourceError, StreamUnreachable
from app.ingest.live.address import AddressPolicy, parse_policy, pin

PUBLIC = "93.184.215.14"


def known(*addresses: str) -> object:
    def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.10",
        "fd12::1",
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "192.0.2.1",
    ],
)
def test_what_is_not_public_is_refused_unless_named(address: str) -> None:
    with pytest.raises(AddressForbidden, match="Streams of camera may not be opened"):
        pin("rtsp://camera/live", AddressPolicy(), known(address))  # type: ignore[arg-type]
    named = pin("rtsp://camera/live", parse_policy([address]), known(address))  # type: ignore[arg-type]
    assert ipaddress.ip_address(named.host) == ipaddress.ip_address(address)


def test_a_named_host_may_be_anywhere_but_where_no_camera_is() -> None:
    policy = parse_policy(["cam.example.org", "10.0.0.0/8"])
    for address in ("192.168.1.10", "127.0.0.1", "fd12::1"):
        assert pin("rtsp://CAM.example.org./x", policy, known(address)).host == address  # type: ignore[arg-type]
    for address in ("169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0"):
        with pytest.raises(AddressForbidden):
            pin("rtsp://cam.example.org/x", policy, known(address))  # type: ignore[arg-type]
    with pytest.raises(AddressForbidden):
        pin("rtsp://other.example.org/x", policy, known("192.168.1.10"))  # type: ignore[arg-type]
    assert pin("rtsp://other.example.org/x", policy, known("10.9.9.9")).host == "10.9.9.9"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "address", "pinned"),
    [
        ("rtsp://cam/live?a=b", PUBLIC, f"rtsp://{PUBLIC}:554/live?a=b"),
        ("rtsp://ann:p%40ss@cam:8554/live", PUBLIC, f"rtsp://ann:p%40ss@{PUBLIC}:8554/live"),
        ("rtsps://cam/live", "2606:4700::1", "rtsps://[2606:4700::1]:322/live"),
        ("rtsp://[2606:4700::1]:99/live", "2606:4700::1", "rtsp://[2606:4700::1]:99/live"),
    ],
)
def test_the_name_is_replaced_by_the_number(url: str, address: str, pinned: str) -> None:
    assert pin(url, AddressPolicy(), known(address)).url == pinned  # type: ignore[arg-type]


def test_of_several_addresses_the_first_that_may_be_opened_is_taken() -> None:
    assert pin("rtsp://cam/", AddressPolicy(), known("10.0.0.1", PUBLIC)).host == PUBLIC  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "http://cam/x",
        "file:///etc/passwd",
        "rtsp:///x",
        "rtsp://",
        "cam",
        "",
        "rtsp://cam:0/",
        "rtsp://cam:99999/",
        "rtsp://[::1/x",
        "rtsp://cam/a b",
        "rtsp://cam/\n",
        "rtsp+tcp://cam/",
        "concat:rtsp://cam/",
        "rtsp://c/" + "x" * 2000,
    ],
)
def test_only_addresses_of_streams_are_taken(url: str) -> None:
    with pytest.raises(SourceError, match="must be rtsp://"):
        pin(url, AddressPolicy(), known(PUBLIC))  # type: ignore[arg-type]


def test_a_host_that_nobody_knows_is_told() -> None:
    with pytest.raises(StreamUnreachable, match=r"No address is known of nowhere\.invalid"):
        pin("rtsp://ann:s3cret@nowhere.invalid/x", AddressPolicy())


@given(st.ip_addresses())
def test_nothing_private_gets_through(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if AddressPolicy().allows("cam", address):
        assert address.is_global
        assert not address.is_loopback
        assert not address.is_private


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "999.1.1.1", "a b", "-", "http://x", "*"])
def test_entries_that_mean_nothing_are_told(entry: str) -> None:
    with pytest.raises(SettingsError, match="is neither a network"):
        parse_policy([entry])
