"""Several watchdogs on one page: each asked for its own summary; a hostile or silent one is unknown, with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.web import fleets as module
from mcpwatch.web.serve import PageServer, listen_tcp
from tests.e2e.daemon import running
from tests.web.browser import Seen, chromium
from tests.web.room import READ, Room, room
from tests.web.test_browser import address, config
from tests.web.test_pages import down

GOOD: dict[str, Any] = {
    "state": "healthy",
    "headline": "All 2 routes work.",
    "causes": [],
    "more": 0,
    "routes": {"healthy": 2, "degraded": 0, "unhealthy": 0, "unknown": 0},
    "members": 2,
    "running": 2,
    "version": "0.1.0",
}


@contextlib.asynccontextmanager
async def answering(head: str, body: bytes = b"", *, hold: bool = False) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server that answers everything with these bytes and closes, or holds the connection; what it was asked, in order."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(head.encode() + b"\r\n\r\n" + body)
            await writer.drain()
            if hold:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


def ok(document: Any) -> tuple[str, bytes]:
    body = json.dumps(document).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close", body


@contextlib.asynccontextmanager
async def served(made: Room) -> AsyncGenerator[str]:
    """A room at a real address."""
    listener = listen_tcp("127.0.0.1:0")
    server = PageServer(made.app, listener)
    running_ = asyncio.get_running_loop().create_task(server.run())
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await asyncio.wait({running_}, timeout=5)
        listener.close()


async def told(made: Room) -> dict[str, dict[str, Any]]:
    async with made.client() as client:
        answer = await client.get("/api/v1/fleets")
        assert answer.status_code == 200, answer.text
        return {one["name"]: one for one in answer.json()["fleets"]}


@pytest.mark.anyio
async def test_the_page_shows_this_fleet_and_the_others_with_their_own_words(tmp_path: Path) -> None:
    async with room(tmp_path / "far", hosts=("127.0.0.1",)) as far, served(far) as there:
        far.fleet.shown = down(far.fleet.shown)
        others = {"lab": {"url": there + "/", "token": READ}}
        async with room(tmp_path / "near", fleets=others, title="home") as near, near.client() as client:
            page = (await client.get("/fleets")).text
            assert page.index(">home<") < page.index(">lab<")
            assert "1 of 2 routes is down: git." in page
            assert "Next: restart the member." in page
            assert f'href="{there}"' in page
            assert '<a href="/fleets" aria-current="page">Fleets</a>' in page
            assert READ not in page
            lab = (await told(near))["lab"]
            assert (lab["unknown"], lab["summary"]["state"]) == ("", "unhealthy")
            assert lab["summary"]["routes"] == {"healthy": 1, "degraded": 0, "unhealthy": 1, "unknown": 0}


@pytest.mark.anyio
async def test_without_other_fleets_the_page_says_how_to_name_them_and_no_menu_leads_to_it(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        assert "Only this fleet is known here" in (await client.get("/fleets")).text
        assert 'href="/fleets"' not in (await client.get("/")).text


def bent(**changes: Any) -> tuple[str, bytes]:
    return ok({**GOOD, **changes})


HOSTILE: dict[str, tuple[tuple[str, bytes], str]] = {
    "no-json": (("HTTP/1.1 200 OK\r\nContent-Length: 5", b"<html"), "no mcpwatch that can be read"),
    "list": (ok([]), "no mcpwatch that can be read"),
    "state": (bent(state="perfect"), "no mcpwatch that can be read"),
    "counts": (bent(routes={"healthy": -1}), "no mcpwatch that can be read"),
    "kinds": (bent(routes={"splendid": 1}), "no mcpwatch that can be read"),
    "text": (bent(headline=7), "no mcpwatch that can be read"),
    "long": (bent(headline="x" * 5000), "no mcpwatch that can be read"),
    "huge": (bent(headline="x" * 100_000), "longer than 65536 bytes"),
    "causes": (bent(causes=[{"subject": "a", "text": None, "next": "b"}]), "no mcpwatch that can be read"),
    "refused": (("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0", b""), "it answered 401: set a token"),
    "old": (("HTTP/1.1 404 Not Found\r\nContent-Length: 0", b""), "too old to tell a summary"),
    "broken": (("HTTP/1.1 500 Oops\r\nContent-Length: 0", b""), "it answered 500"),
    "elsewhere": (("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0", b""), "it answered 302"),
    "short": (("HTTP/1.1 200 OK\r\nContent-Length: 900", b"{"), "cannot be reached"),
    "noise": (("SSH-2.0-OpenSSH_9.2", b""), "cannot be reached"),
}


@pytest.mark.anyio
async def test_whatever_answers_is_unknown_with_a_reason_unless_it_is_a_summary(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        others: dict[str, Any] = {}
        for name, ((head, body), _) in HOSTILE.items():
            url, _ = await stack.enter_async_context(answering(head, body))
            others[name] = {"url": url}
        good, _ = await stack.enter_async_context(answering(*ok({**GOOD, "later": "a key of a newer version"})))
        others["good"] = {"url": good}
        others["closed"] = {"url": "http://127.0.0.1:1"}
        made = await stack.enter_async_context(room(tmp_path, fleets=others))
        found = await told(made)
        assert list(found) == list(others)
        for name, (_, reason) in HOSTILE.items():
            assert found[name]["summary"] is None, name
            assert reason in found[name]["unknown"], (name, found[name]["unknown"])
        assert "cannot be reached" in found["closed"]["unknown"]
        assert found["good"]["summary"] == GOOD


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_watchdog_that_never_ends_its_answer_is_unknown_and_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT", 2.0)
    async with contextlib.AsyncExitStack() as stack:
        slow, _ = await stack.enter_async_context(answering("HTTP/1.1 200 OK\r\nContent-Length: 900", b"{", hold=True))
        good, _ = await stack.enter_async_context(answering(*ok(GOOD)))
        others = {f"slow-{number}": {"url": slow} for number in range(4)} | {"good": {"url": good}}
        made = await stack.enter_async_context(room(tmp_path, fleets=others))
        found = await told(made)
        assert {one["unknown"] for name, one in found.items() if name != "good"} == {"no answer within 2 s"}
        assert found["good"]["summary"] == GOOD


@pytest.mark.anyio
async def test_a_token_goes_to_its_own_address_alone_and_lookers_share_one_question(tmp_path: Path) -> None:
    async with answering(*ok(GOOD)) as (one, first), answering(*ok(GOOD)) as (two, second):
        others = {"one": {"url": one, "token": "the-token-of-one"}, "two": {"url": two}}
        async with room(tmp_path, fleets=others) as made:
            await asyncio.gather(*(told(made) for _ in range(10)))
            assert (len(first), len(second)) == (1, 1)
            assert b"Bearer the-token-of-one" in first[0]
            assert b"authorization" not in second[0].lower()
            made.clock.move(module.KEPT + 1)
            await told(made)
            assert (len(first), len(second)) == (2, 2)


@pytest.mark.anyio
async def test_a_token_that_cannot_be_sent_is_not_shown_and_nothing_is_sent(tmp_path: Path) -> None:
    async with answering(*ok(GOOD)) as (url, asked):
        others = {str(number): {"url": url, "token": f"secret-of{bad}the-fleet"} for number, bad in enumerate("\r\n\0")}
        async with room(tmp_path, fleets=others) as made:
            found = await told(made)
        assert asked == []
    for one in found.values():
        assert "line break or NUL" in one["unknown"]
        assert "secret" not in one["unknown"]


@pytest.mark.anyio
async def test_a_proxy_of_the_environment_never_sees_the_token_of_a_fleet_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(*ok(GOOD)) as (proxy, seen), answering(*ok(GOOD)) as (url, asked):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        async with room(tmp_path, fleets={"one": {"url": url, "token": "the-token-of-one"}}) as made:
            assert (await told(made))["one"]["summary"] == GOOD
        assert (seen, len(asked)) == ([], 1)


@pytest.mark.anyio
async def test_a_compressed_answer_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}"
    async with answering(head, bomb[:60_000]) as (url, _), room(tmp_path, fleets={"one": {"url": url}}) as made:
        assert "compressed" in (await told(made))["one"]["unknown"]


@pytest.mark.anyio
async def test_the_summary_is_of_one_size_for_a_fleet_of_any_size(tmp_path: Path) -> None:
    names = [f"route-{number:04}" for number in range(1000)]
    async with room(tmp_path, *names) as made, made.client(READ) as client:
        view = made.fleet.shown
        made.fleet.shown = replace(view, routes=tuple(replace(one, verdict=Verdict.UNHEALTHY) for one in view.routes))
        answer = await client.get("/api/v1/summary")
        assert answer.json()["routes"]["unhealthy"] == 1000
        assert len(answer.content) < 2000
        assert module.Summary.model_validate_json(answer.content).model_dump() == answer.json()


@pytest.mark.slow
@pytest.mark.needs("chromium")
@pytest.mark.timeout(180)
def test_two_real_watchdogs_are_on_one_page_and_the_one_that_ends_becomes_unknown(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    far = config("one")
    with running(tmp_path / "far", far) as other:
        other.healthy()
        near = config("two")
        near["web"]["fleets"] = {"lab": {"url": address(far), "token": far["web"]["tokens"][0]["token"]}}
        with running(tmp_path / "near", near) as daemon, chromium() as browser:
            daemon.healthy()
            page = browser.new_page()
            seen = Seen(page, address(near))
            page.goto(address(near) + "/fleets")
            page.get_by_role("row", name="lab").get_by_text("All 1 routes work.").wait_for()
            other.stop()
            page.get_by_role("row", name="lab").get_by_text("cannot be reached").wait_for(timeout=60_000)
            assert "unknown" in page.get_by_role("row", name="lab").inner_text()
            seen.clean()
            assert httpx.get(address(near) + "/api/v1/summary").json()["state"] == "healthy"
