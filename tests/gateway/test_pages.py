"""What the metrics page counts of things that were dropped, without HTTP."""

from __future__ import annotations

import sys
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpwatch.gateway import child, outbox, pages
from mcpwatch.gateway.exchange import Request
from mcpwatch.gateway.member import Member
from mcpwatch.gateway.session import MemberTarget
from mcpwatch.gateway.sessions import Sessions
from mcpwatch.gateway.settings import Limits, ServerSettings
from tests.gateway.inside import LIMIT, inside

pytestmark = pytest.mark.anyio


def shown(member: Member, sessions: Sessions | None = None) -> list[str]:
    """The lines of the page."""
    return pages.metrics({member.name: member}, sessions or Sessions(Limits()), {}).decode().splitlines()


async def test_messages_that_no_stream_took_are_counted_after_their_session_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "UNSENT_MESSAGES", 2)
    async with inside() as member:
        sessions = Sessions(Limits())
        request = Request(cast("Any", None), MemberTarget(member), "ann", {}, [])
        one, other = sessions.begin(request), sessions.begin(request)
        for session in (one, one, one, other, other, other):
            session.push(b"{}")
        assert "mcpwatch_gateway_dropped_messages_total 2" in shown(member, sessions)
        sessions.drop(one)
        assert "mcpwatch_gateway_dropped_messages_total 2" in shown(member, sessions)


async def test_a_line_that_is_too_long_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LINE_LIMIT", 1000)
    prints = "print('x' * 5000, end='', flush=True); input()"
    member = Member(ServerSettings("long", command=sys.executable, args=("-c", prints)), Limits(), None, lambda _: None)
    try:
        with anyio.fail_after(LIMIT):
            while 'mcpwatch_gateway_member_dropped_lines_total{member="long"} 1' not in shown(member):
                await checkpoint()
    finally:
        await member.stop()
