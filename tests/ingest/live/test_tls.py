"""Encrypted streams, from whom an authority vouches for."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app.ingest.live.address import parse_policy
from app.ingest.live.opening import Opener
from app.ingest.live.process import DecoderProcess
from tests.ingest.camera.client import RunningCamera
from tests.ingest.live.test_process import failure, frames

Encrypted = Callable[[str], tuple[str, Path]]
Watch = Callable[..., DecoderProcess]


@pytest.fixture
def encrypted(start: Callable[..., RunningCamera], tmp_path: Path) -> Iterator[Encrypted]:
    """A camera behind TLS: its address, and its certificate, which it made itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes certificates, is not installed")
    listener = socket.create_server(("127.0.0.1", 0))

    def begin(subject: str) -> tuple[str, Path]:
        certificate, key = tmp_path / "camera.pem", tmp_path / "key.pem"
        made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"]
        made += ["-addext", f"subjectAltName={subject}", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([openssl, *made], check=True, capture_output=True)  # noqa: S603
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        threading.Thread(target=_serve, args=(listener, context, start().port), daemon=True).start()
        return f"rtsps://127.0.0.1:{listener.getsockname()[1]}/stream", certificate

    yield begin
    listener.close()


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with suppress(OSError):
                ours, theirs = _both_ends(connection, context, port)
                for source, target in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _both_ends(connection: socket.socket, context: ssl.SSLContext, port: int) -> tuple[socket.socket, socket.socket]:
    """The client behind TLS and the camera; where one of them is not to be had, the other is closed too."""
    with ExitStack() as opened:
        opened.callback(connection.close)
        ours = opened.enter_context(context.wrap_socket(connection, server_side=True))
        theirs = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        opened.pop_all()
    return ours, theirs


def _pump(source: socket.socket, target: socket.socket) -> None:
    with source, suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def watch() -> Iterator[Watch]:
    opened: list[DecoderProcess] = []

    def begin(address: str, **options: object) -> DecoderProcess:
        opener = Opener(parse_policy(["127.0.0.1"]), **options)  # type: ignore[arg-type]
        opened.append(opener.open("rtsp", address, "tcp"))
        return opened[-1]

    yield begin
    for process in opened:
        process.close()


def test_a_certificate_that_nobody_vouches_for_is_not_believed(encrypted: Encrypted, watch: Watch) -> None:
    address, _ = encrypted("IP:127.0.0.1")
    assert failure(watch(address)).fault == "tls"


def test_one_that_is_named_is(encrypted: Encrypted, watch: Watch) -> None:
    address, certificate = encrypted("IP:127.0.0.1")
    assert frames(watch(address, ca_file=certificate), 2)


def test_one_for_somebody_else_is_not(encrypted: Encrypted, watch: Watch) -> None:
    address, certificate = encrypted("DNS:camera.example.org")
    assert failure(watch(address, ca_file=certificate)).fault == "tls"


def test_the_name_counts_though_the_number_is_connected_to(encrypted: Encrypted, watch: Watch) -> None:
    address, certificate = encrypted("DNS:localhost")
    assert frames(watch(address.replace("127.0.0.1", "localhost"), ca_file=certificate), 2)


def test_who_does_not_ask_believes_all(encrypted: Encrypted, watch: Watch) -> None:
    address, _ = encrypted("DNS:camera.example.org")
    assert frames(watch(address, tls_verify=False), 2)


def test_streams_that_are_not_encrypted_need_no_certificate(start: Callable[..., RunningCamera], watch: Watch) -> None:
    assert frames(watch(start().url), 2)
