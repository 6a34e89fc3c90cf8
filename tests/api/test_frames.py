"""Pushing frames over HTTP."""

from collections.abc import AsyncIterator

import pytest

from app.core.errors import DetectorFailed
from tests.api.conftest import IMAGE, Api, api_for
from tests.sessions.fakes import START_UNIX_S, WAIT_S, Bench, jpeg, wait_until

PNG_HEADER = b"\x89PNG\r\n\x1a\n"


def form(
    body: bytes, name: str = "frame", *, boundary: str = "xyz", is_closed: bool = True
) -> tuple[bytes, dict[str, str]]:
    """A multipart body with one field, and its headers."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'
    tail = f"\r\n--{boundary}--\r\n" if is_closed else ""
    return head.encode() + body + tail.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/jpeg"},
        {"Content-Type": "IMAGE/JPEG; quality=high"},
        {"Content-Type": "image/png"},
        {"Content-Type": "application/octet-stream"},
        {},
    ],
)
def test_a_raw_image_gets_its_result(api: Api, headers: dict[str, str]) -> None:
    api.open()
    response = api.post("/sessions/a/frames", content=jpeg(), headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    result = response.json()
    assert (result["session"], result["seq"]) == ("a", 1)
    assert result["objects"][0]["box"] == [10.0, 10.0, 20.0, 30.0]
    assert result["time"]["capture_source"] == "arrival"


def test_a_form_field_gets_its_result(api: Api) -> None:
    api.open()
    response = api.post(
        "/sessions/a/frames", files={"frame": ("x.jpg", jpeg(), "image/jpeg")}, data={"note": "ignored"}
    )
    assert response.status_code == 200, response.text


def test_a_form_that_comes_byte_by_byte_is_put_together(api: Api) -> None:
    api.open()
    body, headers = form(jpeg())

    async def bytewise() -> AsyncIterator[bytes]:
        for index in range(len(body)):
            yield body[index : index + 1]

    assert api.post("/sessions/a/frames", content=bytewise(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (*form(jpeg(), name="picture"), "0 fields 'frame'"),
        (*form(jpeg(), is_closed=False), "ends before"),
        (b"--xyz--", form(b"")[1], "0 fields"),
        (b"nonsense", form(b"")[1], "cannot be read"),
        (form(jpeg())[0], {"Content-Type": "multipart/form-data"}, "no boundary"),
        (form(jpeg())[0], {"Content-Type": f"multipart/form-data; boundary={'x' * 500}"}, "cannot be read"),
    ],
)
def test_forms_that_make_no_sense_are_refused(api: Api, body: bytes, headers: dict[str, str], message: str) -> None:
    api.open()
    response = api.post("/sessions/a/frames", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "input_error")
    assert message in response.json()["detail"]


def test_two_frames_in_one_form_are_refused(api: Api) -> None:
    api.open()
    files = [("frame", ("a.jpg", jpeg())), ("frame", ("b.jpg", jpeg()))]
    response = api.post("/sessions/a/frames", files=files)
    assert response.status_code == 422
    assert "2 fields" in response.json()["detail"]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "video/mp4", "image/gif"])
def test_other_types_are_415_and_the_answer_names_those_taken(api: Api, content_type: str) -> None:
    api.open()
    response = api.post("/sessions/a/frames", content=jpeg(), headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "image/jpeg" in response.headers["accept"]


@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        (b"", 422, "frame_empty"),
        (b"GIF89a" + bytes(100), 415, "frame_format_unknown"),
        (jpeg()[:400], 422, "frame_corrupt"),
        (PNG_HEADER + bytes(100), 422, "frame_corrupt"),
        (jpeg(80, 48), 409, "frame_size_changed"),
    ],
)
def test_a_bad_frame_fails_its_own_request_only(api: Api, data: bytes, status: int, name: str) -> None:
    api.open()
    assert api.push().status_code == 200
    response = api.push(data=data)
    assert (response.status_code, response.json()["code"]) == (status, name), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert api.push().status_code == 200


def test_a_frame_of_too_many_pixels_is_refused(bench: Bench) -> None:
    with api_for(bench, max_pixels=64 * 48) as api:
        api.open()
        assert api.push().status_code == 200
        api.open("b")
        response = api.push("b", jpeg(65, 48))
    assert (response.status_code, response.json()["code"]) == (413, "frame_too_large")


def test_a_frame_of_too_many_bytes_is_refused_unread(bench: Bench) -> None:
    with api_for(bench, max_frame_bytes=1024) as api:
        api.open()
        response = api.push(data=b"x" * 1025)
        assert (response.status_code, response.json()["code"]) == (413, "frame_too_large")
        assert api.get("/sessions/a").json()["frames"]["received"] == 0


@pytest.mark.parametrize("is_form", [False, True])
def test_a_stream_without_end_is_refused_while_it_is_read(bench: Bench, is_form: bool) -> None:
    n_sent = 0
    head, headers = form(b"", is_closed=False) if is_form else (b"", dict(IMAGE))

    async def endless() -> AsyncIterator[bytes]:
        nonlocal n_sent
        yield head
        while True:
            n_sent += 1
            yield bytes(1024)

    with api_for(bench, max_frame_bytes=16 * 1024) as api:
        api.open()
        response = api.post("/sessions/a/frames", content=endless(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "frame_too_large")
    assert n_sent <= 20


def test_other_fields_of_a_form_are_bounded_too(bench: Bench) -> None:
    with api_for(bench, max_frame_bytes=1024) as api:
        api.open()
        response = api.post("/sessions/a/frames", files={"frame": ("a", b"x"), "junk": ("b", bytes(100_000))})
    assert response.status_code == 413


def test_a_form_of_very_many_parts_is_not_read_to_its_end(api: Api) -> None:
    n_sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal n_sent
        while True:
            n_sent += 1
            yield b"--xyz\r\nA: b\r\n\r\n\r\n" * 100

    api.open()
    response = api.post("/sessions/a/frames", content=parts(), headers=form(b"")[1])
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert n_sent <= 50


def test_a_frame_number_in_other_digits_is_refused(api: Api) -> None:
    api.open()
    headers = [("Content-Type", "image/jpeg"), ("X-Frame-Seq", "\u0663".encode())]
    response = api.post("/sessions/a/frames", content=jpeg(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "input_error")
    assert "from 1 to" in response.json()["detail"]


def test_the_clients_numbers_are_kept_and_must_increase(api: Api) -> None:
    api.open()
    assert api.push(X_Frame_Seq="41").json()["seq"] == 41
    assert api.push().json()["seq"] == 42
    for stale in ("42", "7"):
        response = api.push(X_Frame_Seq=stale)
        assert (response.status_code, response.json()["code"]) == (409, "frame_out_of_order")
    for nonsense in ("", "0", "-1", "x", "1.5", "1_0", str(2**60), "9" * 5000):
        assert api.push(X_Frame_Seq=nonsense).status_code == 422


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2026-01-01T00:00:00.250Z", "2026-01-01T00:00:00.250Z"),
        ("2026-01-01t01:00:00.25+01:00", "2026-01-01T00:00:00.250Z"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000Z"),
        (str(START_UNIX_S), "2026-01-01T00:00:00.000Z"),
        (" 12.5 ", "1970-01-01T00:00:12.500Z"),
        ("0", "1970-01-01T00:00:00.000Z"),
        ("1.03333333333333333333", "1970-01-01T00:00:01.033Z"),
        (".25", "1970-01-01T00:00:00.250Z"),
    ],
)
def test_capture_times_are_understood(api: Api, given: str, shown: str) -> None:
    api.open()
    time = api.push(X_Capture_Time=given).json()["time"]
    assert (time["capture"], time["capture_source"]) == (shown, "client")


@pytest.mark.parametrize(
    "nonsense",
    ["yesterday", "", "-5", "nan", "inf", "1e400", "1767225600000", "1969-12-31T00:00:00Z", "1_0", "2026-13-01", "."],
)
def test_other_capture_times_are_refused(api: Api, nonsense: str) -> None:
    api.open()
    response = api.push(X_Capture_Time=nonsense)
    assert (response.status_code, response.json()["code"]) == (422, "input_error")
    assert "capture time" in response.json()["detail"]


def test_capture_times_set_the_pace_of_the_stream(api: Api) -> None:
    pipeline = api.open()
    for step in range(3):
        api.push(X_Capture_Time=f"{START_UNIX_S + step * 0.04:.3f}")
    assert [frame.pts_s for frame in pipeline.frames] == [0.0, 0.04, 0.08]


def test_a_full_queue_is_429_with_retry_after(api: Api) -> None:
    pipeline = api.open("a", queue={"depth": 2})
    pipeline.gate.clear()
    pending = [api.begin("POST", "/sessions/a/frames", content=jpeg(), headers=IMAGE)]
    assert pipeline.entered.acquire(timeout=WAIT_S)
    session = api.services.registry.get("a")
    pending += [api.begin("POST", "/sessions/a/frames", content=jpeg(), headers=IMAGE) for _ in range(2)]
    wait_until(lambda: session.describe().queue_length == 2)
    refused = api.push()
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert refused.headers["retry-after"] == "1"
    assert 0 < refused.json()["retry_after_s"] < 1
    assert refused.json()["retryable"]
    pipeline.gate.set()
    assert [response.result().json()["seq"] for response in pending] == [1, 2, 3]


def test_many_at_once_are_processed_in_the_order_of_their_acceptance(api: Api) -> None:
    pipeline = api.open("a", queue={"depth": 100})
    pipeline.gate.clear()
    pending = [
        api.begin("POST", "/sessions/a/frames", content=jpeg(), headers=IMAGE | {"X-Capture-Time": str(number)})
        for number in range(30)
    ]
    pipeline.gate.set()
    results = [response.result().json() for response in pending]
    assert sorted(result["seq"] for result in results) == list(range(1, 31))
    assert [frame.seq for frame in pipeline.frames] == list(range(1, 31))
    by_seq = {result["seq"]: result["time"]["capture"] for result in results}
    for frame in pipeline.frames:
        assert frame.capture is not None
        assert by_seq[frame.seq] == f"1970-01-01T00:00:{int(frame.capture.unix_s):02}.000Z"


def test_a_failing_detector_is_503_and_the_session_goes_on(api: Api) -> None:
    pipeline = api.open()
    pipeline.errors = [DetectorFailed("inference ran out of memory")]
    response = api.push()
    assert (response.status_code, response.json()["code"]) == (503, "detector_failed")
    assert response.json()["retryable"]
    assert response.headers["retry-after"] == "1"
    assert api.push().status_code == 200


def test_a_defect_in_the_pipeline_is_500_for_that_frame(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = api.open()
    pipeline.errors = [ZeroDivisionError()]
    with caplog.at_level("CRITICAL"):
        response = api.push()
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert api.push().status_code == 200


def test_requests_are_measured_by_route_template(api: Api) -> None:
    api.open()
    api.push()
    api.get("/sessions/nobody")
    api.get("/some/random/path")
    name = "flexpatch_http_requests_total"
    assert api.sample(name, route="/sessions/{session_id}/frames", method="POST", status="200") == 1
    assert api.sample(name, route="/sessions/{session_id}", method="GET", status="404") == 1
    assert api.sample(name, route="unmatched", method="GET", status="404") == 1
    api.get("/web/js/main.js")
    api.get("/docs")
    assert api.sample(name, route="/web", method="GET", status="200") == 1
    assert api.sample(name, route="/docs", method="GET", status="200") == 1
    assert api.sample("flexpatch_http_request_duration_seconds_count", route="/sessions", method="POST") == 1
