"""A url that a process of this fleet serves: whoever listens there is repaired for it, where that harms less than it heals. Pure.

Must not know how it was found out who listens (`take_snapshot`), nor repairs.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import Finding, LookAgain
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot
from mcpwatch.watchdog.ways import says_no_way


def by_its_server(snapshot: FleetSnapshot, member: MemberSnapshot, found: Finding | LookAgain) -> Finding | LookAgain:
    """What was found as it is; of a url that another member serves with what stands against the restart of that one.

    It serves others too, perhaps: as long as one of them is well, only what is dead behind it for good is a reason to end it, once.
    """
    server, seen = snapshot.member(member.served_by), member.direct
    if server is None or isinstance(found, LookAgain) or found.subject != server.name or seen is None:
        return found
    found = replace(found, text=f"{found.text}; it is served by '{server.name}'")
    if server.phase is not Phase.RUNNING or server.want is Want.DOWN:
        return replace(found, rung=None, hold=f"waiting for '{server.name}', which serves it")
    if server.started_at is not None and (seen.began_at is None or seen.began_at < server.started_at):
        return LookAgain(member.name)
    until = Instant((server.started_at or 0.0) + server.start_grace)
    if until > snapshot.at:
        return replace(found, hold=f"waiting for the start of '{server.name}', which serves it", until=until)
    well = [one.name for one in snapshot.members if _beside(member, server, one)]
    if not well:
        return replace(found, tries=1)
    if found.cause == "child_died" and not says_no_way(seen):
        return replace(found, tries=1)
    hold = f"left to a person: 'mcpwatch restart {server.name}' would end what works too ({', '.join(well)})"
    return replace(found, rung=None, hold=hold)


def _beside(member: MemberSnapshot, server: MemberSnapshot, other: MemberSnapshot) -> bool:
    """Whether another is served by the same, and is well: the server itself, or what is asked at the same port."""
    same = other is server or (other.carried.watched and _port(other) == _port(member))
    return same and other is not member and other.direct is not None and other.direct.verdict is Verdict.HEALTHY


def _port(member: MemberSnapshot) -> str:
    return member.asked_at.rpartition(":")[2]
