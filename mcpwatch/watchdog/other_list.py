"""A proxy that shows for a member what that does not list: the list of another member, or one that is no longer so. Pure.

What is listed and not shown says nothing, for a filter may hide it; unless the proxy shows all that was listed before.
"""

from __future__ import annotations

import json
from typing import Any

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
    if own is None or shown is None or (through.began_at or 0.0) < (member.relisted_at or 0.0):
        return ""
    new, former = _since_then(member, direct, through)
    if not shown <= own:
        new = own - shown
    told = (("with what it lists no more:", shown - own), ("without", new), ("with the former definition of", former))
    return " and ".join(_told(how, tools) for how, tools in told if tools)


def _since_then(member: MemberSnapshot, direct: Observation, through: Observation) -> tuple[frozenset[str], frozenset[str]]:
    """Tools that the member lists since the proxy began, and that it lists otherwise, where the proxy shows the list of before."""
    if not member.listed_before:  # no list is read for members that list what they listed then
        return frozenset(), frozenset()
    then, now, shown = _tools(member.listed_before), _tools(_contract(direct)), _tools(_contract(through))
    new = frozenset(now.keys() - then.keys() - shown.keys() if then and then.keys() <= shown.keys() and not member.picked else ())
    return new, frozenset(name for name in then.keys() & now.keys() if then[name] != now[name] and shown.get(name) == then[name])


def _contract(seen: Observation) -> str:
    return (seen.result.contract if seen.result is not None else None) or ""


def _tools(contract: str) -> dict[str, Any]:
    """The definitions of a contract by name."""
    return {str(tool["name"]): tool for tool in json.loads(contract).get("tools", [])} if contract else {}


def names(seen: Observation | None) -> frozenset[str] | None:
    """The names of the tools that a vantage lists, `None` when it lists none or failed before."""
    tools = seen.result.tools if seen is not None and seen.result is not None else None
    return frozenset(tool.name for tool in tools) if tools else None


def _told(how: str, tools: frozenset[str]) -> str:
    more = f" and {len(tools) - SHOWN} more" if len(tools) > SHOWN else ""
    return f"{how} {', '.join(sorted(tools)[:SHOWN])}{more}"
