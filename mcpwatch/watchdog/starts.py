"""Whether something is still starting, and until when: one notion, from `start_grace`, used by everybody. Pure.

A process, a container, a bridge and a server that the gateway hosts prove a start themselves (phase STARTING). A server that a
foreign proxy runs inside itself starts when that proxy does, and a URL that others serve starts unseen.
"""

from __future__ import annotations

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Symptom
from mcpwatch.model.time import Instant, later
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot

COLD_START = 600.0
"""Seconds that a bridge, or a proxy, whose child lives may need before it serves it, however short its `start_grace` is."""

TOO_OFTEN, STEADY = 3, 30.0
"""Unplanned ends in a row after which a member has to live so many seconds before others are cut for it."""


def starting_until(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """Until when a member is given time to start, or `None` when it has started or its time is over."""
    if member.phase is Phase.STARTING:
        began = member.started_at if member.started_at is not None else snapshot.at
        return _ahead(Instant(began + member.start_grace), snapshot.at)
    proxy = snapshot.front
    if inside(member) and proxy is not None and proxy.started_at is not None and not _served(member):
        return _ahead(Instant(proxy.started_at + cold(member)), snapshot.at)
    return None


def cold_until(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """Until when a bridge that answers, but has never yet served what it runs, is given time for that; `None` when that is over.

    As long as its child lives, the child is starting: ending it would only begin the same start again.
    """
    seen = member.direct
    if seen is None or seen.symptom is not Symptom.NOT_MOUNTED or seen.succeeded or member.started_at is None:
        return None
    return _ahead(Instant(member.started_at + cold(member)), snapshot.at)


def cold(member: MemberSnapshot) -> float:
    """Seconds that a server behind another program may need to be served."""
    return max(member.start_grace, COLD_START) if member.child_runs else member.start_grace


def inside(member: MemberSnapshot) -> bool:
    """Whether a foreign proxy runs this server inside itself: nothing else can reach it."""
    return member.carried.watched and member.direct is None


def mounting_until(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """Until when a proxy that connects to its members only when it starts may still be connecting to this one."""
    proxy = snapshot.front
    if proxy is None or proxy.started_at is None or snapshot.mounts_late or _served(member):
        return None
    return _ahead(Instant(proxy.started_at + member.start_grace), snapshot.at)


def unserved_since(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """When the proxy began, where it never served the member since, which has not changed since either: it had its try."""
    proxy, seen = snapshot.front, member.through
    if proxy is None or proxy.started_at is None or seen is None or seen.succeeded:
        return None
    times = [member.started_at, member.changed_at, member.direct.since if member.direct is not None else None]
    return proxy.started_at if all(time is None or time < proxy.started_at for time in times) else None


def _served(member: MemberSnapshot) -> bool:
    """Whether the route was once well in the proxy's present run."""
    return member.through is not None and member.through.succeeded


def _ahead(until: Instant, now: Instant) -> Instant | None:
    return until if until > now else None


def steady_at(member: MemberSnapshot) -> Instant:
    """When one that ended again and again has lived long enough for others to be cut for it; 0 for one that did not."""
    return later(member.started_at, STEADY) if member.failures >= TOO_OFTEN and member.started_at is not None else Instant(0.0)
