"""The guard of the web address: who comes in, what another site's page can make a browser do (nothing), and how guessing goes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.fact import OperatorActed
from mcpwatch.model.time import Instant
from mcpwatch.web.guard import LONGEST, PEERS, Throttle
from mcpwatch.web.sessions import SESSIONS, LoginSessions
from mcpwatch.web.spec import WebSpec
from tests.web.room import OPERATE, READ, room

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token is answered at once here; how long it takes elsewhere is the throttle's test."""
    monkeypatch.setattr("mcpwatch.web.guard.FIRST", 0.0)


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:9465", 200), ("localhost", 200), ("[::1]:9465", 200), ("LOCALHOST:80", 200), ("status.lan", 401),
    ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("10.1.2.3", 421), ("[::1", 421),
])  # fmt: skip
async def test_only_own_names_are_served_so_that_rebinding_a_name_reads_nothing(tmp_path: Path, host: str, status: int) -> None:
    async with room(tmp_path, hosts=["status.lan"]) as made, made.client() as client:
        answer = await client.get("/api/v1/status", headers={"Host": host})
        assert answer.status_code == status
        assert (status == 200) == ("members" in answer.text)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:9465.evil.example", ""])
async def test_a_page_of_another_origin_is_refused_with_every_method(tmp_path: Path, origin: str) -> None:
    async with room(tmp_path) as made, made.client(OPERATE) as client:
        for method, path in (
            ("GET", "/api/v1/status"),
            ("POST", "/api/v1/members/git/restart"),
            ("POST", "/login"),
            ("POST", "/mcp"),
        ):
            answer = await client.request(method, path, headers={"Origin": origin})
            assert answer.status_code == 403, path
        assert made.fleet.commands == []


async def test_a_form_of_another_site_does_nothing_in_a_session(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        word = await made.log_in(client, OPERATE)
        form = {"op": "restart", "name": "git"}
        for fields in (form, {**form, "csrf": ""}, {**form, "csrf": "guess"}):
            assert (await client.post("/do", data=fields)).status_code == 403
        crossed = await client.post("/do", data={**form, "csrf": word}, headers={"Sec-Fetch-Site": "cross-site"})
        assert crossed.status_code == 403
        assert (await client.post("/api/v1/members/git/restart")).status_code == 403
        assert made.fleet.commands == []
        assert (await client.post("/do", data={**form, "csrf": word, "back": "//evil.example"})).headers["location"] == "/"
        assert (await client.post("/api/v1/members/git/restart", headers={"X-CSRF-Token": word})).status_code == 200
        assert made.fleet.commands == [("restart", "git")] * 2


async def test_the_cookie_of_a_session_is_for_this_site_alone(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        answer = await client.post("/login", data={"token": OPERATE})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert OPERATE not in cookie


async def test_loopback_reads_without_a_token_and_does_nothing_more(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        assert (await client.get("/api/v1/whoami")).json() == {"role": "read", "by": ""}
        assert (await client.get("/")).status_code == 200
        for path in ("/api/v1/members/git/restart", "/api/v1/down", "/api/v1/reload", "/api/v1/silences", "/api/v1/alerts/ack"):
            body: dict[str, Any] = {"alert": "x"} if path.endswith("ack") else {}
            assert (await client.post(path, json=body)).status_code == 403, path
        assert made.fleet.commands == []
        assert made.operations.done == []


async def test_another_machine_gets_nothing_but_the_public_page_without_a_token(tmp_path: Path) -> None:
    spec = {"listen": "0.0.0.0:9465", "hosts": ["status.lan"]}
    async with room(tmp_path, **spec) as made, made.client(peer="192.168.1.7", base="http://status.lan:9465") as client:
        assert (await client.get("/public")).status_code == 200
        assert (await client.get("/badge/git.svg")).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/")).headers["location"] == "/login"
        for path in ("/api/v1/status", "/api/v1/openapi.json", "/live", "/mcp", "/api/v1/whoami"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/api/v1/status", headers={"Authorization": f"Bearer {READ}"})).status_code == 200


@pytest.mark.parametrize("shown", ["Bearer nonsense", "Bearer ", "Basic cmVhZA==", f"Bearer {READ[:-1]}", f"bearer {READ}x"])
async def test_a_wrong_token_is_worse_than_none(tmp_path: Path, shown: str) -> None:
    async with room(tmp_path) as made, made.client() as client:
        answer = await client.get("/api/v1/status", headers={"Authorization": shown})
        assert answer.status_code == 401
        told = [fact for fact in made.facts if isinstance(fact, OperatorActed)]
        assert [(fact.action, fact.level) for fact in told] == [("login failed", "warning")]


def test_each_further_wrong_token_takes_longer_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.web.guard.FIRST", 0.25)
    throttle = Throttle()
    waits = [throttle.failed("1.2.3.4", Instant(float(at)))[0] for at in range(8)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, LONGEST, LONGEST, LONGEST]
    assert throttle.failed("other", Instant(9.0)) == (0.25, 1)
    assert throttle.failed("1.2.3.4", Instant(2000.0)) == (0.25, 1)
    for number in range(PEERS + 10):
        throttle.failed(f"peer {number}", Instant(3000.0))
    assert throttle.failed("1.2.3.4", Instant(3001.0)) == (0.25, 1)


async def test_many_wrong_tokens_at_once_are_refused_instead_of_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.web.guard.FIRST", 0.2)
    monkeypatch.setattr("mcpwatch.web.guard.LONGEST", 0.2)
    async with room(tmp_path) as made, made.client("guess-guess-guess-guess") as client:
        answers = await asyncio.gather(*(client.get("/api/v1/status") for _ in range(30)))
        assert sorted({answer.status_code for answer in answers}) == [401, 429]


async def test_every_answer_carries_the_policy_that_keeps_scripts_and_requests_at_home(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        for path in ("/", "/api/v1/status", "/static/live.js", "/nowhere", "/public", "/login"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert "unsafe" not in headers["content-security-policy"]
            assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
            assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", [
    "/static/../pages.py", "/static/..%2fpages.py", "/static/%2e%2e/pages.py", "/static/....//pages.py", "/static//etc/passwd",
    "/static/..%5cpages.py", "/api/v1/logs/..%2f..%2fstate.db", "/api/v1/logs/%00", "/route/..%2f..%2fetc", "/badge/..%2fx.svg",
])  # fmt: skip
async def test_no_path_leads_out_of_its_room(tmp_path: Path, path: str) -> None:
    async with room(tmp_path) as made, made.client() as client:
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "import" not in answer.text
        assert "root:" not in answer.text


async def test_a_token_taken_out_of_the_configuration_ends_its_sessions(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        await made.log_in(client, OPERATE)
        made.app = made.web.site.build(WebSpec.model_validate({"tokens": [{"token": READ, "name": "eyes"}]}))
        async with made.client() as again:
            again.cookies = client.cookies
            assert (await again.get("/api/v1/whoami")).json()["role"] == "read"


def test_sessions_are_bounded_and_end() -> None:
    sessions = LoginSessions()
    first = sessions.begin("read", "a", Instant(0.0))
    last = [sessions.begin("operate", "b", Instant(1.0)) for _ in range(SESSIONS)][-1]
    assert sessions.find(first, Instant(2.0)) is None
    assert sessions.find(last, Instant(2.0)) is not None
    assert sessions.find(last, Instant(1e9)) is None
