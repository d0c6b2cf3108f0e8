"""A proxy that shows for a member what that does not list: the list of another member, or one that is no longer so. Pure.

Compares names of tools alone. What is listed and not shown says nothing: a filter may hide it.
"""

from __future__ import annotations

from mcpwatch.model.member import Verdict
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation

SHOWN = 5
"""Names of tools that are told."""


def mixed_up(snapshot: FleetSnapshot, member: MemberSnapshot) -> str:
    """The other member whose very list is shown at the route of this one; the empty string when it is nobody's."""
    shown = names(member.through)
    if not shown or shown == names(member.direct):
        return ""
    others = (one for one in snapshot.members if one.name not in (member.name, snapshot.proxy))
    return next((one.name for one in others if names(one.direct) == shown), "")


def outdated(snapshot: FleetSnapshot, member: MemberSnapshot) -> str:
    """How the list that the proxy shows from its memory is one of earlier; the empty string when nothing tells that it is."""
    direct, through, proxy = member.direct, member.through, snapshot.front
    if not snapshot.lists_from_cache or direct is None or through is None or proxy is None:
        return ""
    if direct.failures or through.verdict is not Verdict.HEALTHY or (direct.began_at or 0.0) < (proxy.started_at or 0.0):
        return ""
    own, shown = names(direct), names(through)
    if own is None or shown is None or shown <= own:
        return ""
    return " and ".join(filter(None, (_told("with what it lists no more:", shown - own), _told("without", own - shown))))


def names(seen: Observation | None) -> frozenset[str] | None:
    """The names of the tools that a vantage lists, `None` when it lists none or failed before."""
    tools = seen.result.tools if seen is not None and seen.result is not None else None
    return frozenset(tool.name for tool in tools) if tools else None


def _told(how: str, tools: frozenset[str]) -> str:
    more = f" and {len(tools) - SHOWN} more" if len(tools) > SHOWN else ""
    return f"{how} {', '.join(sorted(tools)[:SHOWN])}{more}" if tools else ""
