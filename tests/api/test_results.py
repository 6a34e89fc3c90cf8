"""The result log, the long poll and explanations."""

from tests.api.conftest import Api, api_for
from tests.sessions.fakes import WAIT_S, Bench, jpeg, wait_until


def test_the_log_is_read_page_by_page(api: Api) -> None:
    api.open()
    pushed = [api.push().json() for _ in range(5)]
    first = api.get("/sessions/a/results", params={"limit": 2}).json()
    assert first == {"session": "a", "last_seq": 5, "discarded_to_seq": 0, "results": pushed[:2]}
    rest = api.get("/sessions/a/results", params={"after_seq": 2}).json()
    assert rest["results"] == pushed[2:]
    assert api.get("/sessions/a/results", params={"after_seq": 5}).json()["results"] == []


def test_the_log_tells_what_it_no_longer_has(bench: Bench) -> None:
    with api_for(bench, result_log_size=2) as api:
        api.open()
        for _ in range(5):
            api.push()
        page = api.get("/sessions/a/results").json()
    assert [result["seq"] for result in page["results"]] == [4, 5]
    assert page["discarded_to_seq"] == 3


def test_the_latest_result_is_the_very_document_the_sender_got(api: Api) -> None:
    api.open()
    missing = api.get("/sessions/a/results/latest")
    assert (missing.status_code, missing.json()["code"]) == (404, "result_not_found")
    api.push()
    pushed = api.push()
    latest = api.get("/sessions/a/results/latest", params={"wait_s": 5})
    assert latest.content == pushed.content


def test_a_long_poll_answers_as_soon_as_there_is_something_newer(api: Api) -> None:
    api.open()
    api.push()
    waiting = api.begin("GET", "/sessions/a/results/latest", params={"wait_s": 30, "after_seq": 1})
    session = api.services.registry.get("a")
    wait_until(lambda: session.log.n_subscriptions > 0)
    assert not waiting.is_done
    pushed = api.push()
    assert waiting.result().content == pushed.content


def test_a_long_poll_without_news_ends_empty(api: Api) -> None:
    api.open()
    api.push()
    response = api.get("/sessions/a/results/latest", params={"wait_s": 0.01, "after_seq": 1})
    assert (response.status_code, response.content) == (204, b"")


def test_a_long_poll_ends_with_the_session(api: Api) -> None:
    api.open()
    waiting = api.begin("GET", "/sessions/a/results/latest", params={"wait_s": 30})
    session = api.services.registry.get("a")
    wait_until(lambda: session.log.n_subscriptions > 0)
    api.request("DELETE", "/sessions/a")
    response = waiting.result()
    assert (response.status_code, response.json()["code"]) == (410, "session_ended")
    assert "Deleted." in response.json()["detail"]


def test_bad_parameters_are_refused(api: Api) -> None:
    api.open()
    for query in ("limit=0", "limit=1001", "after_seq=-1", "after_seq=x"):
        assert api.get(f"/sessions/a/results?{query}").status_code == 422
    for query in ("wait_s=-1", "wait_s=61", "wait_s=nan", "wait_s=inf"):
        assert api.get(f"/sessions/a/results/latest?{query}").status_code == 422


def test_a_frame_is_explained(api: Api) -> None:
    api.open()
    api.push()
    explained = api.get("/sessions/a/explain/1")
    assert explained.status_code == 200
    document = explained.json()
    assert (document["session"], document["seq"], document["canvas"]) == ("a", 1, [64, 32])
    taken, left = document["candidates"]
    assert taken == {
        "kind": "object",
        "box": [5.0, 5.0, 25.0, 35.0],
        "scale": 1.0,
        "value": 0.7,
        "pixels": 600,
        "track_ids": [1],
        "is_taken": True,
        "reason": "worth it",
        "canvas_box": [0, 0, 20, 30],
    }
    assert (left["is_taken"], left["reason"], left["canvas_box"]) == (False, "not worth its price", None)


def test_a_frame_nobody_remembers_cannot_be_explained(api: Api) -> None:
    api.open()
    response = api.get("/sessions/a/explain/99")
    assert (response.status_code, response.json()["code"]) == (404, "result_not_found")
    assert api.get("/sessions/a/explain/first").status_code == 422


def test_an_explanation_waits_for_the_frame_in_hand(api: Api) -> None:
    pipeline = api.open()
    api.push()
    assert pipeline.entered.acquire(timeout=WAIT_S)
    pipeline.gate.clear()
    pushing = api.begin("POST", "/sessions/a/frames", content=jpeg())
    assert pipeline.entered.acquire(timeout=WAIT_S)
    asking = api.begin("GET", "/sessions/a/explain/2")
    pipeline.gate.set()
    assert pushing.result().status_code == 200
    assert asking.result().json()["seq"] == 2
