"""What the metrics page counts of things that were dropped, without HTTP."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, cast

import anyio
import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.serve import pages
from mcpwatch.gateway.serve.fleet import ServedMembers
from mcpwatch.gateway.serve.replicas import Replicas
from mcpwatch.gateway.session import session_output
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.member_target import MemberTarget
from mcpwatch.gateway.session.session import Session
from mcpwatch.gateway.session.sessions import ClientSessions
from mcpwatch.gateway.settings import ServerSettings, ServingLimits, Settings
from mcpwatch.gateway.upstream import child
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.model.restart import RestartPolicy
from tests.gateway.inside import LIMIT, Taken, inside
from tests.gateway.program import TINY, call, request

pytestmark = pytest.mark.anyio


def shown(member: ServedMember, sessions: ClientSessions | None = None) -> list[str]:
    """The lines of the page."""
    return pages.metrics({member.name: member}, sessions or ClientSessions(ServingLimits()), {}, Replicas()).decode().splitlines()


async def test_messages_that_no_stream_took_are_counted_after_their_session_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_output, "UNSENT_MESSAGES", 2)
    async with inside() as member:
        sessions = ClientSessions(ServingLimits())
        request = McpRequest(cast("Any", None), MemberTarget(member), "ann", {}, [])
        one, other = sessions.begin(request), sessions.begin(request)
        for session in (one, one, one, other, other, other):
            session.push(b"{}")
        assert "mcpwatch_gateway_dropped_messages_total 2" in shown(member, sessions)
        sessions.drop(one)
        assert "mcpwatch_gateway_dropped_messages_total 2" in shown(member, sessions)


async def test_a_line_that_is_too_long_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LINE_LIMIT", 1000)
    prints = "print('x' * 5000, end='', flush=True); input()"
    member = ServedMember(
        ServerSettings("long", command=sys.executable, args=("-c", prints)), ServingLimits(), None, lambda _: None
    )
    try:
        with anyio.fail_after(LIMIT):
            while 'mcpwatch_gateway_member_dropped_lines_total{member="long"} 1' not in shown(member):  # noqa: ASYNC110 - what is waited for tells nobody
                await anyio.sleep(0.005)
    finally:
        await member.stop()


def counters(member: ServedMember) -> dict[str, int]:
    """The member's counters, by name."""
    named = (line.partition("{")[0] for line in shown(member))
    values = (line.rpartition(" ")[2] for line in shown(member))
    return {name: int(value) for name, value in zip(named, values, strict=True) if "_member_" in name and name.endswith("_total")}


async def counts(session: Session) -> None:
    """Let a server of the session's own take requests, say what is no message, and be started again."""
    hello = request(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}}})
    for asked in (hello, call(1, "noise"), call(2, "die")):
        data, taken = json.dumps(asked).encode(), Taken()
        await session.take(data, message.peek(data), taken)
        await taken.last()
    with anyio.fail_after(LIMIT):
        while not session.member.counts.restarts:  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.005)


async def test_no_counter_goes_back_when_a_session_ends_or_a_reload_takes_a_member_away_and_brings_it_back() -> None:
    tiny = ServerSettings("tiny", command=TINY["command"], args=tuple(TINY["args"]))
    fleet = ServedMembers(None, lambda _: None)
    try:
        await fleet.apply(Settings(servers=(tiny,)), lambda _: None)
        first = fleet.members["tiny"]
        session = Session(first, "ann")
        await counts(session)
        before = counters(first)
        assert {name.removeprefix("mcpwatch_gateway_member_") for name, value in before.items() if value} == {
            "restarts_total",
            "requests_total",
            "tool_calls_total",
            "tool_errors_total",
            "stdout_pollution_total",
        }
        await session.close()
        ended = counters(first)
        await fleet.apply(Settings(), lambda _: None)
        await fleet.apply(Settings(servers=(tiny,)), lambda _: None)
        second = fleet.members["tiny"]
        assert second is not first
        await second.main.ready()
        after = counters(second)
        assert all(before[name] <= ended[name] <= after[name] for name in before), (before, ended, after)
    finally:
        await fleet.stop()


@pytest.mark.sample
@pytest.mark.parametrize("change", [
    {"start_grace": 90.0}, {"restart": RestartPolicy(condition="never")}, {"limits": ServingLimits(start=5.0)},
    {"limits": ServingLimits(call=7.0)}, {"limits": ServingLimits(body=1000, sessions_per_token=3)},
], ids=["start grace", "policy", "start", "call", "bytes"])  # fmt: skip
async def test_a_changed_time_limit_or_policy_is_taken_over_by_the_server_that_runs(change: dict[str, Any]) -> None:
    tiny = ServerSettings("tiny", command=TINY["command"], args=tuple(TINY["args"]))
    limits = change.get("limits", ServingLimits())
    after = replace(tiny, **{name: value for name, value in change.items() if name != "limits"})
    fleet = ServedMembers(None, lambda _: None)
    try:
        await fleet.apply(Settings(servers=(tiny,)), lambda _: None)
        first = fleet.members["tiny"]
        await first.main.ready()
        assert await fleet.apply(Settings(servers=(after,), limits=limits), lambda _: None) == []
        assert fleet.members["tiny"] is first
        assert first.settings.start_grace == after.start_grace
        assert first.main.start_limit == max(limits.start, after.start_grace)
        assert first.main.mux.call_limit == limits.call
        assert first.main.record.policy == after.restart
        assert await fleet.apply(Settings(servers=(replace(after, cwd="/"),), limits=limits), lambda _: None) == ["tiny"]
    finally:
        await fleet.stop()
