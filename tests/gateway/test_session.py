"""A session of one member, without HTTP: what it does when it ends, or its member is slow, in the middle of something."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.session import session as sessions
from mcpwatch.gateway.session.session import Session
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from tests.gateway.inside import LIMIT, Taken, inside

pytestmark = pytest.mark.anyio


def taking(method: str, **params: object) -> Callable[[Session], Coroutine[Any, Any, None]]:
    """A request of the client."""
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return lambda session: session.take(data, message.peek(data), Taken())


@pytest.mark.parametrize(
    "doing",
    [taking("initialize", capabilities={"sampling": {}}), taking("tools/list"), Session.attend],
    ids=["own", "call", "attend"],
)
async def test_a_session_that_ends_while_its_member_starts_leaves_nothing(
    doing: Callable[[Session], Coroutine[Any, Any, None]],
) -> None:
    async with inside(starting=True) as member:
        session = Session(member, "ann")
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as group:
                group.start_soon(doing, session)
                await checkpoint()
                await checkpoint()
                await session.close()
                member.gate.set()
        assert member.upstreams == [member.main]
        assert member.main.mux.peers == 0


async def test_a_ping_to_a_stateless_member_that_is_silent_says_that_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PING_LIMIT", 0.05)
    async with inside("stateless") as member:
        session = Session(member, "ann")
        session.use(member.main)
        with pytest.raises(UpstreamUnavailable, match="did not answer"):
            await taking("ping")(session)
        await session.close()
