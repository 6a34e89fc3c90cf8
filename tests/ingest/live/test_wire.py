"""What a decoding process and the service tell each other."""

import os
import socket
from collections.abc import Iterator

import pytest

from app.ingest.live.wire import Ended, Failed, Message, Opened, Reformatted, pair, receive, send

Pair = tuple[socket.socket, socket.socket]

SMALL = Reformatted(64, 32, is_full_range=True)


@pytest.fixture
def ends() -> Iterator[Pair]:
    ours, theirs = pair()
    with ours, theirs:
        yield ours, theirs


def test_messages_come_one_by_one_as_they_were_sent(ends: Pair) -> None:
    ours, theirs = ends
    said: list[Message] = [Opened("h264", None), Opened("hevc", 25.0, "cuda"), Failed("timeout", "Nothing – for 10 s.")]
    for message in said:
        send(theirs, message)
    assert [receive(ours) for _ in said] == [(message, None) for message in said]


def test_a_descriptor_comes_with_its_message(ends: Pair) -> None:
    ours, theirs = ends
    memory = os.memfd_create("pictures")
    try:
        os.write(memory, b"picture")
        send(theirs, SMALL, memory)
    finally:
        os.close(memory)
    message, descriptor = receive(ours)
    assert descriptor is not None
    try:
        assert message == SMALL
        assert os.pread(descriptor, 7, 0) == b"picture"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("last", [Ended(), Failed("protocol", "The camera hung up.")])
def test_the_last_word_is_heard_though_its_sender_left_something_unread(last: Message, ends: Pair) -> None:
    ours, theirs = ends
    send(theirs, last)
    ours.send(b"a slot that is given back")
    theirs.close()
    assert receive(ours) == (last, None)
    assert receive(ours) == (None, None)
