"""A call whose client has gone is no reason to leave a silent member alone: it counts as waiting on no wire."""

from __future__ import annotations

import asyncio
import time

import anyio
import httpx
import pytest

from mcpwatch.gateway.http import limits, listener
from mcpwatch.gateway.serve.fleet import show
from mcpwatch.gateway.session import session, session_output
from mcpwatch.gateway.session.session_output import SessionOutput
from tests.gateway.inside import Inside, inside, served
from tests.gateway.program import ACCEPT, call, http, post_call, sse

pytestmark = pytest.mark.anyio
LIMIT = 20.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks at its connections twenty times a second, and waits a moment only for those that are half closed."""
    monkeypatch.setattr(listener, "TICK", 0.05)
    monkeypatch.setattr(limits, "HALF_CLOSED", 0.05)


async def ask(wire: str, base: str) -> None:
    """One call, by a client that stays for its answer."""
    match wire:
        case "rpc":
            async with httpx.AsyncClient(timeout=LIMIT) as client:
                await client.post(f"{base}/inside/rpc", json=call(1, "long"), headers=ACCEPT)
        case "stateless":
            async with httpx.AsyncClient(timeout=LIMIT) as client:
                await post_call(client, f"{base}/inside/mcp", {"name": "long"})
        case "sse":
            async with sse(f"{base}/inside/sse") as stream:
                await stream.hello()
                await stream.ask(call(1, "long"))
        case _:
            async with http(f"{base}/inside/mcp" if wire == "http" else f"{base}/mcp") as client:
                await client.hello()
                await client.post(call(1, "long" if wire == "http" else "inside__long"))


async def waits(member: Inside, wanted: bool) -> None:
    """Return when a call waits, or none does."""
    with anyio.fail_after(LIMIT):
        while (show(member)["oldest_call"] is not None) != wanted:  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.002)


@pytest.mark.parametrize("wire", ["rpc", "stateless", "sse", "http", "http of several members"])
async def test_a_call_waits_while_its_client_is_there_and_no_longer(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_output, "AWAY", 0.0)
    monkeypatch.setattr(session, "FRESH", 3600.0)  # the greeting is proof enough that the member lives: it answers no ping
    async with inside() as member, served(member) as base:
        clients = [asyncio.create_task(ask(wire, base)) for _ in range(3)]
        with anyio.fail_after(LIMIT):
            while show(member)["in_flight"] < len(clients):  # noqa: ASYNC110 - what is waited for tells nobody
                await anyio.sleep(0.002)
        for client in clients[:2]:
            client.cancel()
        await asyncio.wait(clients[:2])
        await waits(member, wanted=True)
        clients[2].cancel()
        await asyncio.wait(clients)
        await waits(member, wanted=False)


@pytest.mark.parametrize("away", [0.0, session_output.AWAY - 1, session_output.AWAY + 1])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("open_", [0, 1])
def test_a_client_is_there_with_something_open_and_for_a_moment_after(away: float, several: bool, open_: int) -> None:
    client, part = SessionOutput(), SessionOutput()
    part.whole = client if several else None
    asked = part if several else client
    client.open, client.seen, part.seen = open_, time.monotonic() - away, 0.0
    assert asked.attended == (open_ > 0 or away < session_output.AWAY)
