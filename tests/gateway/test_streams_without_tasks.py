"""A stream that stays open for what belongs to no request: no task waits for its end, and its end is heard all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpwatch.gateway.session import session
from mcpwatch.gateway.session.member_target import MemberTarget
from tests.gateway.inside import LIMIT, Inside, inside, served
from tests.gateway.program import Http, http, sse

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting is proof enough that the member lives, however slow the machine: it answers no ping."""
    monkeypatch.setattr(session, "FRESH", 3600.0)


def tasks() -> int:
    """How many tasks serve requests or end sessions now."""
    return sum(task.get_name() in {"request", "session close"} for task in asyncio.all_tasks())


async def attached(member: Inside, wanted: int) -> None:
    """Return when so many sessions use the member."""
    async with asyncio.timeout(LIMIT):
        while member.main.mux.peers != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def listening(client: Http) -> AsyncGenerator[Any]:
    """The stream of a session for what belongs to no request, open."""
    async with client.client.stream("GET", client.url, headers=client.headers) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": open"
        yield lines


async def test_an_open_stream_of_the_legacy_wire_has_no_task_and_its_session_ends_with_it() -> None:
    async with inside() as member, served(member) as url:
        async with sse(f"{url}/inside/sse") as client:
            await client.hello()
            assert tasks() == 0
            await attached(member, 1)
        await attached(member, 0)
        assert tasks() == 0


async def test_an_open_stream_of_a_session_has_no_task_and_its_session_goes_on_without_it() -> None:
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        async with listening(client) as lines:
            assert tasks() == 0
            member.wires[0].say({"method": "notifications/tools/list_changed"})
            async with asyncio.timeout(LIMIT):
                async for line in lines:
                    if "list_changed" in line:
                        break
        await attached(member, 1)
        async with listening(client):
            await client.client.delete(client.url, headers=client.headers)
            await attached(member, 0)
        assert tasks() == 0


async def test_a_deleted_session_ends_its_streams_on_the_wire_too() -> None:
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        async with listening(client) as lines:
            await client.client.delete(client.url, headers=client.headers)
            async with asyncio.timeout(LIMIT):
                assert [line async for line in lines if line] == []


async def test_a_stream_that_waited_for_its_member_to_start_stays_open() -> None:
    async with inside() as member, served(member) as url:
        member.main.hold()
        member.main.release()
        assert not MemberTarget(member).running
        async with sse(f"{url}/inside/sse") as client:
            await client.hello()
            assert tasks() == 0
            await attached(member, 1)
        await attached(member, 0)
