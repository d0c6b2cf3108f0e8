"""A member that answers HTTP 503 and not one word more: overloaded, or at an end. Pure.

Who takes nothing for now says so, or when to ask again, or takes some of what it is asked. One of ours that does nothing of that
for longer than it may take to start does not work: a bridge answers so for ever once the server that it runs is gone.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.bare_answer import bare
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation
from mcpwatch.watchdog.starts import cold

PATIENCE = 300.0
"""Seconds that one is given, at least, of which nothing shows that it runs another."""


def unavailable(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation, found: Finding) -> Finding:
    """The finding; or that it is given time; or, when that is over and it answered nothing meanwhile, that it does not work."""
    since = seen.bare_since
    if member.carried.watched or not bare(seen.result) or since is None or _called_since(member, since):
        return found
    patience = _patience(member, seen)
    until = Instant(since + patience)
    if until > snapshot.at:
        return replace(found, hold=f"it is given {until - snapshot.at:.0f}s more to answer again", until=until)
    text = f"it answers nothing but a bare HTTP 503, for more than {patience:g}s, with no word of a load"
    if member.child_ended:
        return replace(found, cause="child_died", text=f"{text}: the server that it ran is gone", rung="restart")
    return replace(found, cause="member_failing", text=f"{text}: it does not work", rung="restart")


def _called_since(member: MemberSnapshot, since: Instant) -> bool:
    """Whether a call of a tool was answered since then: it takes some of what it is asked."""
    call = member.direct_call
    return call is not None and not call.failures and call.at is not None and call.at >= since


def _patience(member: MemberSnapshot, seen: Observation) -> float:
    least = member.start_grace if seen.succeeded else cold(member)
    return least if member.kind == "bridge" or member.child_ended else max(least, PATIENCE)
