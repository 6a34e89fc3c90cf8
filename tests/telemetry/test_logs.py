"""Log lines."""

import io
import json
import logging

import pytest

from app.core.clock import ManualClock
from app.telemetry.logs import LogFormat, RepeatFilter, bind_log_context, redact, redact_url, setup_logging


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:secret@10.0.0.7:554/live", "rtsp://***@10.0.0.7:554/live"),
        ("open rtsp://admin@host/a and http://u:p@h", "open rtsp://***@host/a and http://***@h"),
        ("rtsp://u:p%40ss:word@host", "rtsp://***@host"),
        ("http://h/x?user=a&password=b&c=d", "http://h/x?user=a&password=***&c=d"),
        ("http://h/x?token=abc#f", "http://h/x?token=***#f"),
        ("rtsp://host/live@home", "rtsp://host/live@home"),
        ("mail someone@example.org", "mail someone@example.org"),
        ("rtsp://admin:P@ssw0rd@10.0.0.7/a", "rtsp://***@10.0.0.7/a"),
        ("rtsp://u:p\"'<w@h and rtsp://h/a", "rtsp://***@h and rtsp://h/a"),
        ("rtsp://h/user=ann_password=S3cr3t_channel=1", "rtsp://h/user=ann_password=***"),
        ("rtsp://h/a;password=hush/b?psw=hush&n=1", "rtsp://h/a;password=***/b?psw=***&n=1"),
        ("?loginpas=hush&authbasic=hush&pw=hush", "?loginpas=***&authbasic=***&pw=***"),
        ("http://h/?access_token=hush#f", "http://h/?access_token=***#f"),
        ("authorization: bearer hush", "authorization: bearer ***"),
        ("Sec-WebSocket-Protocol: flexpatch, bearer.my-own-hush", "Sec-WebSocket-Protocol: flexpatch, bearer.***"),
        ("?key=hush&api_key=hush", "?key=***&api_key=***"),
        ("sort(key=len) with compass=5, authentication=off", "sort(key=len) with compass=5, authentication=off"),
        ("Send a bearer token with each request", "Send a bearer token with each request"),
        ("Authorization: Basic dTpw", "Authorization: Basic ***"),
        ("Basic authentication is fine", "Basic authentication is fine"),
        ("write rtsp://USER:PASSWORD@HOST/PATH", "write rtsp://USER:PASSWORD@HOST/PATH"),
    ],
)
def test_credentials_are_cut_out_of_texts(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://ann:hush@h:554/a/b", "rtsp://***@h:554/a/b"),
        ("rtsp://h/a?unit=hush&c=2", "rtsp://h/a?***"),
        ("rtsp://h/password=hush?x", "rtsp://h/password=***?***"),
    ],
)
def test_of_an_address_nothing_is_shown_that_may_be_secret(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@pytest.mark.parametrize("piece", ["a.", "a://", "://", "x@", "auth", "pass", "bearer ", "a:b@c", "key=", "?"])
def test_the_longest_text_is_searched_in_one_pass(piece: str) -> None:
    # In steps that grow with the square of the length this would take minutes.
    redact(piece * 200_000)


def test_lines_are_json_with_their_context_and_without_credentials(stream: io.StringIO) -> None:
    setup_logging("json", "info", stream, ManualClock())
    log = logging.getLogger("app.test")
    with bind_log_context(session_id="cam-7"):
        log.info("opening %s", "rtsp://u:secret@h", extra={"urls": ["rtsp://u:secret@h"], "n": 3})
    log.debug("too little")
    (line,) = lines(stream)
    assert line["event"] == "opening rtsp://***@h"
    assert line["urls"] == ["rtsp://***@h"]
    assert (line["n"], line["level"], line["logger"], line["session_id"]) == (3, "info", "app.test", "cam-7")
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_tracebacks_are_redacted_too(stream: io.StringIO, log_format: LogFormat) -> None:
    setup_logging(log_format, "info", stream, ManualClock())
    try:
        int("no answer from rtsp://u:secret@h")
    except ValueError:
        logging.getLogger("app.test").exception("failed")
    assert "rtsp://***@h" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "secret" not in stream.getvalue()


def test_repeats_are_written_once_a_second_with_their_number(stream: io.StringIO) -> None:
    clock = ManualClock()
    setup_logging("json", "info", stream, clock)
    log = logging.getLogger("app.test")
    for number in range(5):
        log.warning("lost frame %d", number)
    log.warning("something else")
    clock.advance(1.0)
    log.warning("lost frame %d", 5)
    events = [(line["event"], line.get("n_repeats")) for line in lines(stream)]
    assert events == [("lost frame 0", None), ("something else", None), ("lost frame 5", 4)]


def test_repeats_of_different_sessions_are_different() -> None:
    repeats = RepeatFilter(ManualClock())
    record = logging.LogRecord("a", logging.INFO, "", 0, "state", None, None)
    seen = []
    for session_id in ("a", "a", "b"):
        record.session_id = session_id
        seen.append(repeats.filter(record))
    record.state = "stopped"
    assert seen == [True, False, True]
    assert repeats.filter(record), "no change of state is left out"
    record = logging.LogRecord("a", logging.INFO, "", 0, "opened", None, None)
    for session_id, is_new in (("c", True), ("d", True), ("c", False)):
        with bind_log_context(session_id=session_id):
            assert repeats.filter(record) is is_new


def test_the_memory_for_repeats_is_bounded() -> None:
    repeats = RepeatFilter(ManualClock(), max_kinds=3)
    for number in range(10):
        assert repeats.filter(logging.LogRecord("a", logging.INFO, "", 0, f"kind {number}", None, None))
    assert len(repeats._kinds) <= 3


def test_a_message_is_not_repeated_in_colour(stream: io.StringIO) -> None:
    setup_logging("json", "info", stream)
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted\x1b[0m"})
    assert "color_message" not in stream.getvalue()
    assert "Started" in stream.getvalue()
