"""The verdict of a member and of a route, the worst of what their histories say, and which probes have to call a tool. Pure.

Must not know causes or repairs.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.watchdog.history import Histories, overall


def member_verdict(histories: Histories, subject: str, vantage: str) -> Verdict:
    """The verdict of all checks of a subject from one vantage."""
    return overall(history for _, history in histories.of(subject, vantage))


def route_verdict(
    histories: Histories, route: str, member: MemberState | None, proxy: MemberState | None, *, excused: bool = False
) -> Verdict:
    """The verdict of a route: its probes', unhealthy while its member or the proxy is down, unknown while they first start.

    `excused`: one of them is restarted because somebody wanted that, or a start inside the proxy is waited for.
    """
    if member is None or member.want is Want.DOWN or excused:
        return Verdict.UNKNOWN
    for needed in (member, proxy):
        if needed is None or needed.phase is Phase.RUNNING:
            continue
        first = needed.phase is Phase.STARTING and not needed.restarts
        return Verdict.UNKNOWN if first or needed.want is Want.DOWN else Verdict.UNHEALTHY
    return overall(history for _, history in histories.of(route, "route"))


def aimed(living: Target | None, wanted: Target | None) -> Target | None:
    """Where a direct probe goes: the place that only the runtime knows, where there is one, with what the configuration sends now.

    A token or certificate that a reload changed touches no incarnation: what was noted when that began is old.
    """
    if living is None or wanted is None or living.url == wanted.url:
        return wanted or living
    host = tuple(header for header in living.headers if header[0] == "Host")
    return replace(wanted, url=living.url, public_url=living.public_url, headers=(*wanted.headers, *host[-1:]))


def lists_from_cache(result: ProbeResult | None, target: Target) -> bool:
    """Whether what answered looks like a proxy that answers lists from its memory: TBXark names each server after its route."""
    if result is None or result.server is None or not result.server.name:
        return False
    parts = [part for part in urlsplit(target.url).path.split("/") if part]
    return len(parts) > 1 and result.server.name == parts[-2]


def deepened(check: CheckSpec) -> CheckSpec:
    """A check that calls a tool too, where there is one that may be called without arguments."""
    return replace(check, safe_call=True) if check.kind == "mcp" and check.canary is None else check
