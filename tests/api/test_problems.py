"""Errors as problems."""

import inspect
import json
import re

import pytest
from starlette.exceptions import HTTPException

from app.api import problems
from app.core import errors
from app.core.wire import error_code
from tests.api.conftest import Api

OURS = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


def make(cls: type[Exception]) -> Exception:
    if cls is errors.QueueFull or cls is errors.SessionsTooFast:
        return cls("busy", 2.3)
    return cls("what was wrong")


def test_every_error_of_ours_is_in_the_table() -> None:
    assert set(problems.PROBLEMS) == set(OURS)


def test_codes_differ_and_are_names() -> None:
    codes = [error_code(cls) for cls in OURS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z][a-z_]+", code) for code in codes)


@pytest.mark.parametrize("cls", OURS)
def test_every_error_of_ours_becomes_a_complete_problem(cls: type[Exception]) -> None:
    response = problems.response(make(cls), "/sessions/a")
    document = json.loads(bytes(response.body))
    assert response.media_type == "application/problem+json"
    assert response.status_code == document["status"] >= 400
    assert document["type"] == f"urn:flexpatch:problem:{document['code']}"
    assert document["instance"] == "/sessions/a"
    assert document["title"]
    assert isinstance(document["retryable"], bool)


def test_what_failed_on_our_side_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    problems.response(errors.StoreFailed("The disk is full."), "/sessions")
    problems.response(errors.SessionNotFound("There is none."), "/sessions/" + "a" * 1000)
    ours, theirs = caplog.records
    assert (ours.levelname, ours.getMessage()) == ("WARNING", "request refused: store_failed")
    assert (ours.detail, ours.path) == ("The disk is full.", "/sessions")  # type: ignore[attr-defined]
    assert theirs.levelname == "DEBUG"
    assert len(theirs.path) == 300  # type: ignore[attr-defined]


def test_only_our_own_failures_are_5xx() -> None:
    internal = {cls for cls, problem in problems.PROBLEMS.items() if problem.status >= 500}
    assert internal == {
        errors.FlexPatchError,
        errors.StoreFailed,
        errors.GpuError,
        errors.GpuMissing,
        errors.GpuMemoryShort,
        errors.GpuFailed,
        errors.KernelsNotCompiled,
        errors.DetectorFailed,
        errors.BackendFailed,
        errors.DownloadFailed,
    }


def test_a_subclass_nobody_listed_is_told_as_its_parent() -> None:
    class Unheard(errors.FrameCorrupt):
        pass

    assert problems.response(Unheard("x"), "/").status_code == 422


def test_a_busy_session_says_when_to_come_back() -> None:
    response = problems.response(errors.QueueFull("busy", 2.3456), "/")
    assert response.headers["retry-after"] == "3"
    assert json.loads(bytes(response.body))["retry_after_s"] == 2.346


def test_a_hurried_answer_still_waits_a_whole_second() -> None:
    assert problems.response(errors.QueueFull("busy", 0.02), "/").headers["retry-after"] == "1"


def test_credentials_do_not_leave_with_a_message() -> None:
    response = problems.response(errors.SourceError("cannot open rtsp://admin:hunter2@10.0.0.7/live"), "/")
    assert b"hunter2" not in response.body
    assert b"rtsp://***@10.0.0.7/live" in response.body


def test_statuses_without_a_body_have_none() -> None:
    assert problems.response(HTTPException(304), "/").body == b""


def test_what_the_router_refuses_is_a_problem_too(api: Api) -> None:
    missing, wrong = api.get("/nowhere"), api.request("PUT", "/sessions")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, POST"
    assert api.request("POST", "/sessions/a").headers["allow"] == "GET, PATCH, DELETE"
    assert {r.headers["content-type"] for r in (missing, wrong)} == {"application/problem+json"}


def test_requests_that_are_not_understood_are_told_where(api: Api) -> None:
    response = api.post("/sessions", json={"flexpatch": {"max_tracks": 0}, "idd": "x"})
    assert response.status_code == 422
    document = response.json()
    assert document["code"] == "invalid_request"
    assert {error["where"] for error in document["errors"]} == {"body.flexpatch.max_tracks", "body.idd"}


def test_a_body_that_is_not_json_is_told_as_such(api: Api) -> None:
    response = api.post("/sessions", content=b'{"id": ', headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert "not JSON" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"id": "a b"}, "body.id: it must be 1 to 64 letters, digits and . _ -"),
        ({"filters": {"classes": [""]}}, "body.filters.classes.0: it must have 1 or more characters"),
        ({"queue": {"depth": "x"}}, "body.queue.depth: it must be a whole number"),
    ],
)
def test_what_people_type_is_answered_in_plain_words(api: Api, body: dict[str, object], words: str) -> None:
    answer = api.post("/sessions", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


def test_refused_input_is_not_repeated_in_the_answer(api: Api) -> None:
    url = "rtsp://admin:hunter2@10.0.0.7/live"
    response = api.post("/sessions", json={"source": {"kind": "rtsp", "url": url, "transport": "pigeon"}})
    assert response.status_code == 422
    assert "hunter2" not in response.text


def test_a_long_name_is_not_repeated_whole(api: Api) -> None:
    answer = api.get("/sessions/" + "a." * 10_000)
    assert answer.status_code == 404
    assert len(answer.text) < 1000


def test_a_defect_of_ours_is_a_500_problem_without_its_traceback(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr(type(api.services.registry), "all", lambda self: broken())
    with caplog.at_level("ERROR"):
        response = api.get("/sessions")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert "secret" not in response.text
    assert "secret reason" in caplog.text
    monkeypatch.undo()


def test_requests_have_ids(api: Api) -> None:
    assert api.get("/livez", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made_up = api.get("/livez", headers={"X-Request-Id": "not an id!"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}", made_up)
