"""Who may do what."""

import hashlib
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from app.api.auth import Role, is_loopback, needed_role, new_token, parse_tokens
from app.core.errors import SettingsError
from app.main import create_app
from tests.api.conftest import IMAGE, Api, api_for, make_app, server_for, settings
from tests.sessions.fakes import Bench, jpeg

ROLES: tuple[Role, ...] = ("read", "push", "admin")
SECRETS: dict[str, str] = {role: f"flx_{role}-secret" for role in ROLES}
TOKENS = [f"{role}:{role}-token:{hashlib.sha256(secret.encode()).hexdigest()}" for role, secret in SECRETS.items()]


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"}


@pytest.fixture
def guarded(bench: Bench) -> Iterator[Api]:
    """A service that has a token of each role, and a session `a`."""
    with api_for(bench, tokens=TOKENS) as api:
        assert api.post("/sessions", json={"id": "a"}, headers=bearer("admin")).status_code == 201
        yield api


REQUESTS = [
    ("GET", "/sessions", "read"),
    ("GET", "/sessions/a", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/whoami", "read"),
    ("GET", "/sessions/a/results", "read"),
    ("POST", "/sessions/a/frames", "push"),
    ("PATCH", "/sessions/a", "admin"),
    ("POST", "/sessions", "admin"),
    ("DELETE", "/sessions/a", "admin"),
    ("GET", "/nothing/here", "read"),
]


@pytest.mark.parametrize(("method", "path", "needed"), REQUESTS)
def test_each_request_takes_a_role(guarded: Api, method: str, path: str, needed: Role) -> None:
    answers = {role: guarded.request(method, path, headers=bearer(role)) for role in ROLES}
    refused = [role for role, answer in answers.items() if answer.status_code == 403]
    assert refused == list(ROLES[: ROLES.index(needed)])
    for role in refused:
        problem = answers[role].json()
        assert problem["code"] == "forbidden"
        assert problem["detail"] == f"The token '{role}-token' has the role {role}, and this takes {needed}."
    assert guarded.request(method, path).status_code == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", f"Bearer {TOKENS[0]}", "bearer flx_read-secre"]
)
def test_without_a_known_token_nobody_gets_in_and_the_answer_says_what_to_send(guarded: Api, header: str) -> None:
    answer = guarded.get("/sessions", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="flexpatch"')
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("role", ROLES)
def test_who_sends_a_token_can_ask_for_its_name_and_role(guarded: Api, role: Role) -> None:
    answer = guarded.get("/whoami", headers=bearer(role))
    assert answer.json() == {"name": f"{role}-token", "role": role}


def test_where_nobody_is_asked_everybody_may_do_everything(api: Api) -> None:
    assert api.get("/whoami", headers=bearer("read")).json() == {"name": None, "role": "admin"}


def test_the_schemes_name_may_be_written_in_any_case(guarded: Api) -> None:
    assert guarded.get("/sessions", headers={"Authorization": f"bEaReR  {SECRETS['read']} "}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/openapi.json", "/docs", "/web/swagger/swagger-ui.css"])
def test_anyone_may_see_whether_it_lives_and_how_it_is_used(guarded: Api, path: str) -> None:
    assert guarded.get(path).status_code == 200
    assert guarded.request("POST", path).status_code in {401, 405}


def test_frames_can_be_pushed_with_a_token_for_that(guarded: Api) -> None:
    answer = guarded.post("/sessions/a/frames", content=jpeg(), headers=IMAGE | bearer("push"))
    assert answer.status_code == 200


def test_what_was_refused_is_counted_under_its_route_and_none_of_its_own(guarded: Api) -> None:
    for path, route in (("/sessions/secret-name", "/sessions/{session_id}"), ("/secret-name", "unmatched")):
        guarded.get(path)
        assert guarded.sample("flexpatch_http_requests_total", route=route, method="GET", status="401") == 1


def test_the_log_tells_who_was_refused_what_and_why(guarded: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    guarded.get("/sessions")
    guarded.get("/sessions/nobody", headers=bearer("read"))
    guarded.post("/sessions", headers=bearer("read"))
    told = [record for record in caplog.records if record.name == "app.api.problems"]
    assert [(record.getMessage(), record.status, record.path) for record in told] == [  # type: ignore[attr-defined]
        ("request refused: unauthenticated", 401, "/sessions"),
        ("request refused: forbidden", 403, "/sessions"),
    ]
    assert "'read-token' has the role read" in told[1].detail  # type: ignore[attr-defined]


def test_websockets_take_a_token_too(bench: Bench) -> None:
    app = make_app(bench, tokens=TOKENS)
    with server_for(app) as address:
        url = f"ws://{address}/sessions/a/ws"
        for headers, status in (({}, 401), (bearer("read"), 403), ({"Authorization": "Bearer x"}, 401)):
            with pytest.raises(websockets.InvalidStatus) as refused, connect(url, additional_headers=headers):
                pass
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body or b"")["status"] == status
        with pytest.raises(websockets.InvalidStatus) as missing, connect(url, additional_headers=bearer("push")):
            pass
        assert missing.value.response.status_code == 404, "let in, but there is no such session"


def test_browsers_give_the_token_of_a_websocket_as_a_protocol(bench: Bench) -> None:
    def protocols(secret: str) -> list[Subprotocol]:
        return [Subprotocol("flexpatch"), Subprotocol(f"bearer.{secret}")]

    with server_for(make_app(bench, tokens=TOKENS)) as address:
        made = httpx.post(f"http://{address}/sessions", json={"id": "a"}, headers=bearer("admin"))
        assert made.status_code == 201
        with connect(f"ws://{address}/sessions/a/live", subprotocols=protocols(SECRETS["read"])) as websocket:
            assert websocket.subprotocol == "flexpatch", "the token does not come back"
            assert json.loads(websocket.recv(5))["event"] == "state"
        with connect(f"ws://{address}/sessions/a/ws", subprotocols=protocols(SECRETS["push"])) as websocket:
            assert websocket.subprotocol == "flexpatch"
        for path, secret, status in (("live", "wrong", 401), ("ws", SECRETS["read"], 403)):
            with (
                pytest.raises(websockets.InvalidStatus) as refused,
                connect(f"ws://{address}/sessions/a/{path}", subprotocols=protocols(secret)),
            ):
                pass
            assert refused.value.response.status_code == status


def test_a_token_of_any_characters_goes_as_a_protocol(bench: Bench) -> None:
    secret = "a/b=(c)@d,e"
    known = f"read:odd:{hashlib.sha256(secret.encode()).hexdigest()}"
    with server_for(make_app(bench, tokens=[known])) as address:
        named = [Subprotocol("flexpatch"), Subprotocol(f"bearer.{quote(secret, safe='')}")]
        with (
            pytest.raises(websockets.InvalidStatus) as refused,
            connect(f"ws://{address}/sessions/nobody/live", subprotocols=named),
        ):
            pass
        assert refused.value.response.status_code == 404, "let in, but there is no such session"


@given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET", "TRACE"]), st.text())
def test_whatever_is_asked_takes_a_role_unless_it_is_known_to_be_open(method: str, rest: str) -> None:
    role = needed_role(method, f"/sessions{rest}")
    assert role in ROLES
    if method not in {"GET", "HEAD"}:
        assert role != "read" or (method == "WEBSOCKET" and rest.endswith("/live"))


@pytest.mark.parametrize("path", ["/web/../sessions", "/web/%2e%2e/sessions", "/web", "/livez/", "/livez/../sessions"])
def test_open_paths_open_nothing_else(guarded: Api, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code in {401, 404}
    assert "max_sessions" not in answer.text


# --------------------------------------------------------------------------------------------- the settings


def test_a_new_token_is_known_by_what_is_kept_of_it(bench: Bench) -> None:
    secret, token = new_token("ops", "admin")
    assert secret not in str(token)
    assert len(secret) > 40
    assert new_token("ops", "admin")[0] != secret
    with api_for(bench, tokens=[str(token)]) as api:
        assert api.get("/sessions", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["flx_abc"], "number 1 is not understood"),
        ([TOKENS[0], "root:x:" + "0" * 64], "number 2 is not understood"),
        ([f"read:a b:{'0' * 64}"], "not understood"),
        ([f"read:a:{'0' * 63}"], "not understood"),
        ([f"read:a:{'0' * 64}", f"push:a:{'1' * 64}"], "two of the name 'a'"),
    ],
)
def test_tokens_that_make_no_sense_are_refused_without_being_repeated(tokens: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        parse_tokens(tokens)
    assert "flx_abc" not in str(caught.value)


def test_a_service_that_others_can_reach_needs_tokens(bench: Bench) -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0, and there are no tokens: make one with `flexpatch token"):
        make_app(bench, host="0.0.0.0")
    with pytest.raises(SettingsError, match=r"Others can reach the service on 192\.168\.1\.5, and there are no tokens"):
        make_app(bench, host="0.0.0.0", published_host="192.168.1.5")
    make_app(bench, host="0.0.0.0", tokens=TOKENS)
    with pytest.raises(SettingsError, match="no tokens"):
        make_app(bench, authentication="required")


def test_that_nobody_is_asked_though_others_can_come_is_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    make_app(bench, authentication="off")
    assert caplog.records == []
    make_app(bench, host="0.0.0.0", authentication="off")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_container_whose_port_is_this_machines_alone_needs_no_token_and_answers_to_no_other_name(
    bench: Bench,
) -> None:
    with api_for(bench, host="0.0.0.0", published_host="127.0.0.1") as api:
        assert api.get("/sessions").status_code == 200
        assert (
            api.get("/sessions", headers={"Host": "evil.example", "Origin": "http://evil.example"}).status_code == 403
        )


def test_on_this_machine_alone_no_token_is_needed_unless_there_is_one(bench: Bench) -> None:
    with api_for(bench) as api:
        assert api.get("/sessions").status_code == 200


def test_tokens_beside_authentication_that_is_off_are_an_error_and_not_ignored(bench: Bench) -> None:
    with pytest.raises(SettingsError, match="There are tokens, but authentication is off"):
        make_app(bench, tokens=TOKENS, authentication="off")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_only_loopback_addresses_are_this_machines_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# -------------------------------------------------------------------------------------- other sites, browsers


def test_other_sites_pages_are_let_in_only_if_named(bench: Bench) -> None:
    asked = {"Origin": "https://ops.example.org", "Access-Control-Request-Method": "POST"}
    with api_for(bench, tokens=TOKENS) as api:
        assert "access-control-allow-origin" not in api.get("/livez", headers=asked).headers
    with api_for(Bench(), tokens=TOKENS, cors_origins=["https://ops.example.org"]) as api:
        preflight = api.request("OPTIONS", "/sessions", headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, asked["Origin"])
        other = api.request("OPTIONS", "/sessions", headers=asked | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = api.get("/sessions", headers={"Origin": asked["Origin"]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, asked["Origin"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "cam.localhost"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing_of_a_service_that_asks_nobody(
    api: Api, headers: dict[str, str], status: int
) -> None:
    answer = api.get("/sessions", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "forbidden"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_websockets_of_other_sites_pages_are_refused(bench: Bench) -> None:
    with server_for(make_app(bench)) as address:
        url = f"ws://{address}/sessions/a/ws"
        with (
            pytest.raises(websockets.InvalidStatus) as refused,
            connect(url, additional_headers={"Origin": "http://evil.example"}),
        ):
            pass
    assert refused.value.response.status_code == 403


def test_with_tokens_the_service_may_have_any_name(bench: Bench) -> None:
    with api_for(bench, tokens=TOKENS) as api:
        assert api.get("/sessions", headers=bearer("read") | {"Host": "cams.example.org"}).status_code == 200


def test_browsers_are_told_to_run_only_the_dashboards_own(api: Api) -> None:
    page = api.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert api.get("/sessions").headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in api.get("/sessions").headers


def test_the_description_of_the_api_comes_from_here_alone(api: Api) -> None:
    page = api.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    assert [path for path in files if not path.startswith("/web/")] == []
    assert [api.get(path).status_code for path in files] == [200] * 3


# ------------------------------------------------------------------------------------------- making sessions


def test_sessions_can_be_made_only_so_fast(bench: Bench) -> None:
    with api_for(bench, session_creations_per_s=2.0, max_sessions=100) as api:
        statuses = [api.post("/sessions").status_code for _ in range(51)]
        assert statuses == [201] * 50 + [429]
        refused = api.post("/sessions")
        assert refused.json()["code"] == "sessions_too_fast"
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["retry_after_s"] == 0.5
        bench.clock.advance(0.5)
        assert [api.post("/sessions").status_code for _ in range(2)] == [201, 429]


def test_sessions_that_are_refused_for_another_reason_use_nothing_up(bench: Bench) -> None:
    with api_for(bench, session_creations_per_s=0.001, max_sessions=100) as api:
        api.open("a")
        assert {api.post("/sessions", json={"id": "a"}).status_code for _ in range(60)} == {409}
        assert api.post("/sessions", json={"id": "b"}).status_code == 201


def test_the_demo_and_the_operators_own_sessions_are_not_held_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    declared = [{"id": f"own-{number}"} for number in range(60)]
    app = create_app(
        settings(sessions=declared, max_sessions=100, session_creations_per_s=0.001), detector=Bench().detector
    )
    with server_for(app):
        assert len(app.state.services.registry) == 60
