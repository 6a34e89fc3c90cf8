"""Making, listing, changing and deleting sessions."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Api, api_for
from tests.sessions.fakes import WAIT_S, Bench, jpeg, session_threads


def test_a_session_without_a_body_has_the_defaults(api: Api) -> None:
    response = api.post("/sessions")
    assert response.status_code == 201
    session = response.json()
    assert response.headers["location"] == f"/sessions/{session['id']}"
    assert session["state"] in {"starting", "running"}
    assert session["source"] == {"kind": "push"}
    assert session["detector"] == {"name": "blind", "backend": "none", "classes": ["person", "car"]}
    assert session["queue"] == {"depth": 4, "length": 0}
    assert session["idle_ttl_s"] == 300
    assert session["flexpatch"]["megapixels_per_frame"] == 0.08
    assert session["flexpatch"]["object_height_px"] == "learned"
    assert session["filters"] == {"classes": None, "min_score": 0, "zones": [], "masks": []}
    assert session["created_at"] == "2026-01-01T00:00:00Z"
    assert (session["last_seq"], session["last_frame_at"], session["frame_size"], session["fps"]) == (0, None, None, 0)


def test_everything_that_is_given_is_taken(api: Api) -> None:
    filters = {
        "classes": ["car"],
        "min_score": 0.25,
        "zones": [{"name": "door", "polygon": [[0, 0], [10, 0], [10, 10]]}],
        "masks": [[[50, 50], [60, 50], [60, 60]]],
    }
    tuning = {"max_canvas": [320, 192], "max_tracks": 5, "context": None}
    body = {"id": "cam-7", "filters": filters, "flexpatch": tuning, "queue": {"depth": 9}, "idle_ttl_s": 7.5}
    session = api.post("/sessions", json=body).json()
    assert session["id"] == "cam-7"
    assert session["filters"] == filters
    assert session["flexpatch"]["max_canvas"] == [320, 192]
    assert session["flexpatch"]["max_tracks"] == 5
    assert session["flexpatch"]["context"] == 0.4
    assert session["queue"]["depth"] == 9
    assert session["idle_ttl_s"] == 7.5
    assert api.bench.pipeline.configs[0].max_tracks == 5


def test_the_operators_defaults_are_used(bench: Bench) -> None:
    with api_for(bench, flexpatch={"max_tracks": 11}, queue_depth=2, idle_ttl_s=9) as api:
        session = api.post("/sessions").json()
    assert session["flexpatch"]["max_tracks"] == 11
    assert session["queue"]["depth"] == 2
    assert session["idle_ttl_s"] == 9


@pytest.mark.parametrize(
    "body",
    [
        {"id": "-starts-with-a-dash"},
        {"id": "a" * 65},
        {"id": "a/b"},
        {"id": ""},
        {"unknown": 1},
        {"filters": {"unknown": 1}},
        {"flexpatch": {"max_track": 1}},
        {"flexpatch": {"max_canvas": [640]}},
        {"flexpatch": {"max_canvas": [8, 8]}},
        {"flexpatch": {"context": 99}},
        {"filters": {"min_score": 1.5}},
        {"filters": {"zones": [{"name": "z", "polygon": [[0, 0], [1, 1]]}]}},
        {"filters": {"zones": [{"name": "z", "polygon": [[0, 0], [1, 1], [2, 2]]}]}},
        {"filters": {"masks": [[[0, 0], [2, 2], [2, 0], [0, 2]]]}},
        {"filters": {"classes": ["unicorn"]}},
        {"queue": {"depth": 0}},
        {"idle_ttl_s": 0},
        {"source": {"kind": "carrier-pigeon"}},
        {"detector": "no-such-model"},
        {"detector": "/etc/passwd"},
        [],
        "text",
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, body: Any) -> None:
    response = api.post("/sessions", json=body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert api.get("/sessions").json()["sessions"] == []


def test_an_id_can_be_taken_once(api: Api) -> None:
    api.open("a")
    response = api.post("/sessions", json={"id": "a"})
    assert (response.status_code, response.json()["code"]) == (409, "session_exists")


def test_no_more_sessions_than_admitted(bench: Bench) -> None:
    with api_for(bench, max_sessions=1) as api:
        api.open("a")
        response = api.post("/sessions")
        assert (response.status_code, response.json()["code"]) == (429, "session_limit_reached")
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["retryable"]


def test_sessions_are_listed_and_shown(api: Api) -> None:
    api.open("a")
    api.open("b")
    api.push("a")
    listed = api.get("/sessions").json()
    assert [session["id"] for session in listed["sessions"]] == ["a", "b"]
    assert listed["max_sessions"] == 64
    shown = api.get("/sessions/a").json()
    assert shown == listed["sessions"][0]
    assert shown["state"] == "running"
    assert shown["frame_size"] == [64, 48]
    assert shown["last_seq"] == 1
    assert shown["last_frame_at"] == "2026-01-01T00:00:00Z"
    assert shown["frames"] == {"received": 1, "processed": 1, "rejected": 0, "cancelled": 0, "failed": {}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/frames"),
        ("GET", "/results"),
        ("GET", "/results/latest"),
        ("GET", "/results/stream"),
        ("GET", "/snapshot.jpg"),
        ("GET", "/preview.mjpeg"),
        ("GET", "/explain/1"),
    ],
)
def test_every_route_of_an_unknown_session_is_404(api: Api, method: str, path: str) -> None:
    options: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
    response = api.request(method, f"/sessions/nobody{path}", **options)
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")


def test_filters_and_tuning_change_live_and_the_rest_stays(api: Api) -> None:
    pipeline = api.open("a", filters={"classes": ["person"], "min_score": 0.5}, flexpatch={"max_tracks": 9})
    assert len(api.push().json()["objects"]) == 1
    patch = {"filters": {"min_score": 0.95}, "flexpatch": {"context": 1.0}, "queue": {"depth": 8}, "idle_ttl_s": 5}
    changed = api.request("PATCH", "/sessions/a", json=patch)
    assert changed.status_code == 200
    assert api.push().json()["objects"] == []
    session = changed.json()
    assert session["filters"]["classes"] == ["person"]
    assert (session["flexpatch"]["max_tracks"], session["flexpatch"]["context"]) == (9, 1.0)
    assert (session["queue"]["depth"], session["idle_ttl_s"]) == (8, 5)
    assert pipeline.configs[-1].context == 1.0


def test_null_goes_back_to_the_defaults(api: Api) -> None:
    api.open("a", filters={"min_score": 0.95}, flexpatch={"max_tracks": 9}, queue={"depth": 7}, idle_ttl_s=9)
    nothing = dict.fromkeys(("filters", "flexpatch", "queue", "idle_ttl_s"))
    session = api.request("PATCH", "/sessions/a", json=nothing).json()
    fresh = api.post("/sessions").json()
    for key in nothing:
        assert session[key] == fresh[key]


def test_the_height_of_objects_goes_back_to_learned_where_the_operator_fixed_one(bench: Bench) -> None:
    with api_for(bench, flexpatch={"object_height_px": 96}) as api:
        api.open("a")
        heights = [api.get("/sessions/a").json()["flexpatch"]["object_height_px"]]
        for height in ("learned", 48, None):
            patch = {"flexpatch": {"object_height_px": height}}
            changed = api.request("PATCH", "/sessions/a", json=patch).json()
            heights.append(changed["flexpatch"]["object_height_px"])
    assert heights == [96, "learned", 48, 96]


def test_a_change_that_makes_no_sense_changes_nothing(api: Api) -> None:
    api.open("a")
    before = api.get("/sessions/a").json()
    for patch in (
        {"filters": {"classes": ["unicorn"]}},
        {"id": "b"},
        {"flexpatch": {"max_tracks": -1}},
        {"flexpatch": {"object_height_px": 12}},
        {"flexpatch": {"object_height_px": "tall"}},
    ):
        assert api.request("PATCH", "/sessions/a", json=patch).status_code == 422
    assert api.get("/sessions/a").json() == before


def test_a_deleted_session_is_gone_with_its_thread(api: Api) -> None:
    api.open("a")
    api.push()
    assert api.request("DELETE", "/sessions/a").status_code == 204
    assert session_threads() == []
    assert api.request("DELETE", "/sessions/a").status_code == 404
    api.open("a")


def test_deleting_a_busy_session_answers_those_who_wait(api: Api) -> None:
    pipeline = api.open("a")
    pipeline.gate.clear()
    in_hand = api.begin("POST", "/sessions/a/frames", content=jpeg())
    assert pipeline.entered.acquire(timeout=WAIT_S)
    waiting = api.begin("POST", "/sessions/a/frames", content=jpeg())
    deleting = api.begin("DELETE", "/sessions/a")
    ended = waiting.result()
    assert (ended.status_code, ended.json()["code"]) == (410, "session_ended")
    assert api.get("/sessions/a").json()["state"] == "draining"
    pipeline.gate.set()
    assert in_hand.result().status_code == 200
    assert deleting.result().status_code == 204


def test_idle_sessions_end_by_themselves(api: Api) -> None:
    api.open("a", idle_ttl_s=10)
    api.bench.clock.advance(11)
    assert api.services.registry.reap() == ["a"]
    assert api.get("/sessions/a").status_code == 404


@pytest.mark.parametrize("media_type", ["application/json", "text/plain"])
def test_a_body_of_megabytes_is_refused_before_it_is_parsed(api: Api, media_type: str) -> None:
    response = api.post("/sessions", content=b" " * (1024 * 1024 + 1), headers={"Content-Type": media_type})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_of_unknown_length_is_refused_while_it_is_read(api: Api) -> None:
    n_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal n_sent
        while True:
            n_sent += 1
            yield b" " * 65536

    response = api.post("/sessions", content=endless(), headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert n_sent < 20


def test_no_thread_is_left_when_the_service_stops(bench: Bench) -> None:
    with api_for(bench) as api:
        for session_id in ("a", "b", "c"):
            api.open(session_id)
            api.push(session_id)
        assert len(session_threads()) == 3
    assert session_threads() == []


def test_who_forgets_the_content_type_is_told(api: Api) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = api.post("/sessions", content=b'{"id": "x"}', headers=form)
    assert response.status_code == 422
    assert response.json()["detail"] == "body: no JSON object; send one with Content-Type: application/json"


def test_a_session_says_where_its_vision_works(api: Api) -> None:
    api.open("seen")
    assert api.get("/sessions/seen").json()["vision"] is None
    assert api.push("seen").json()["work"]["vision"] == "cpu"
    assert api.get("/sessions/seen").json()["vision"] == "cpu"
