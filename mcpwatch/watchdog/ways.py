"""The proxy's own way to a member that answers by another: what it says itself of a name, an address or a port. Pure.

No restart mends a wrong URL, a name server or a firewall. Must not know repairs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation

FIRST_LOOK = 10.0
"""Seconds that the first look at a member of others may come after the proxy's: it was there before, and nobody had looked."""

READ_LATE = 0.5
"""Seconds after which a line is read at the latest, as a rule: what was read sooner may be of a time before the member was well."""

_NO_WAY = re.compile(
    r"connection refused|ECONNREFUSED|no such host|no route to host|network is unreachable|host is down|server misbehaving"
    r"|name or service not known|nodename nor servname|temporary failure in name resolution|does not resolve|ENOTFOUND|EAI_AGAIN"
    r"|EHOSTUNREACH|ENETUNREACH|all connection attempts failed|x509|certificate",
    re.IGNORECASE,
)
"""Words by which a proxy says that it found no way, not that a member failed."""
_CUT = re.compile(r"(?:read|write): connection reset by peer|ECONNRESET|broken pipe|unexpected EOF|\bEOF$", re.IGNORECASE)
"""Words by which it says of its start, when no session is yet, that whoever it reached closed the connection."""
_CAUSES = frozenset({"not_mounted", "stale_session", "route_failing"})


def elsewhere(ours: Target | None, theirs: str) -> str:
    """The URL by which the proxy reaches a member, when that is another place than where we ask it; else the empty string."""
    if ours is None or not ours.url or not theirs:
        return ""
    places = [(parts.hostname, parts.port) for parts in (urlsplit(ours.url), urlsplit(theirs))]
    return theirs if places[0] != places[1] else ""


def own_port(spec: MemberSpec) -> int | None:
    """The port of this machine where a process should answer."""
    return urlsplit(spec.direct.url).port if spec.carried.own and spec.direct is not None and spec.direct.url else None


def no_way(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation, found: Finding) -> Finding:
    """The finding, or that the proxy finds no way where it says so of a time in which the member itself was well.

    One that uses another URL than we do, or says so at this moment, is not restarted for it; one that said so at its start once.
    """
    if found.cause not in _CAUSES or member.direct is None or member.direct.failures:
        return found
    now = says_no_way(seen)
    said = now[0] if now else _logged(snapshot, member)
    if not said:
        return found
    name, theirs = member.name, member.proxy_url
    where = f"at {theirs}, which differs from where it is checked" if theirs else "where it is checked too"
    text = f"'{name}' answers, but the proxy finds no way to it {where}: {said}"
    look_at = f"the URL that '{found.subject}' uses for '{name}', its name servers, its networks and the firewalls between"
    rung = None if theirs or now else found.rung  # what it says now will be another thing when the way is back
    return replace(found, cause="upstream_unreachable", text=text, rung=rung, look_at=look_at, tries=1, suspect="")


def says_no_way(seen: Observation) -> re.Match[str] | None:
    """The words by which an answer says that whoever gave it found no way to what stands behind it."""
    return _NO_WAY.search(f"{seen.message} {seen.result.said}") if seen.result is not None else None


def _logged(snapshot: FleetSnapshot, member: MemberSnapshot) -> str:
    """The words of the proxy's log by which it found no way while the member was well."""
    hint = snapshot.hint(member.route)
    if hint is None or hint.meaning not in ("failed", "lost"):
        return ""
    if not (_NO_WAY.search(hint.text) or (hint.meaning == "failed" and _CUT.search(hint.text))):
        return ""
    since, proxy = _well_since(member), snapshot.front
    if since is None:
        return ""
    began = proxy.started_at if proxy is not None else None
    late = 0.0 if began is not None and began >= since else READ_LATE  # all that one says which began later is later
    return hint.text if hint.at >= since + late else ""


def _well_since(member: MemberSnapshot) -> Instant | None:
    """Since when the member itself is well, as far as anybody looked."""
    direct = member.direct
    if direct is None or direct.since is None:
        return None
    if member.started_at is None and direct.unbroken:
        return Instant(direct.since - FIRST_LOOK)
    return max(one for one in (direct.since, member.started_at, member.changed_at) if one is not None)
