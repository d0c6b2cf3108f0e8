"""A member that fails its own checks and serves its clients all the same is not restarted. Pure.

What checks do not take (an odd type, an odd session id), or a member that is deaf to whoever is new, may be no trouble of those who
reach it through the proxy: a restart would end what works. A server of one thread answers no check while it does what a client
asked for. Must not know what else may be wrong with it.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase
from mcpwatch.model.symptom import CALLS
from mcpwatch.model.time import later
from mcpwatch.watchdog.clients_served import at_work, given
from mcpwatch.watchdog.doubt import doubt, silent_since
from mcpwatch.watchdog.finding import Finding, LookAgain
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation

WORK_PATIENCE = 90.0
"""Seconds since its first silence that a member is given which takes the processor meanwhile: it works, or it hangs in a loop."""

UNSEEN_PATIENCE = 90.0
"""Seconds since its first silence that a member is given behind a proxy that does not tell what clients wait for."""

SPINS = frozenset({"member_exhausted"})
"""Causes that the kernel tells, and at which silence and a busy processor are no sign of work: who cannot accept tries for ever."""

SERVED = "left alone while its clients are served: its route was found well since, and a restart would end their sessions"


def spared(snapshot: FleetSnapshot, member: MemberSnapshot, found: Finding) -> Finding | LookAgain:
    """The finding as it is; without a repair where its route was found well since; or that its route has to be looked at first."""
    busy = at_work(snapshot, member, member.own, found) if found.rung == "restart" else None
    if (busy := busy or _works(snapshot, member, found)) is not None:
        return busy
    if member.own is not None and member.through is not None and found.rung == "restart" and found.cause not in SPINS:
        found = unseen(snapshot, member.own, found)
    seen, through, proxy = member.direct, member.through, snapshot.front
    if found.rung != "restart" or seen is None or through is None or seen is not member.own:
        return found
    if proxy is None or proxy.phase is not Phase.RUNNING or through.failures or not tells(snapshot, seen, through):
        return found
    if through.began_at is None or (seen.since is not None and through.began_at < seen.since):
        return LookAgain(member.name, brief=doubt(seen) == "silent")
    return replace(found, rung=None, hold=SERVED)


def _works(snapshot: FleetSnapshot, member: MemberSnapshot, found: Finding) -> Finding | None:
    """The finding with a wait while its processes work: of what, nobody tells."""
    since = silent_since(member.own)
    if found.rung != "restart" or not member.works or since is None or found.cause in SPINS:
        return None
    why = "its processes took the processor since it fell silent, so that it may be at work"
    return given(snapshot, found, why, later(since, WORK_PATIENCE))


def unseen(snapshot: FleetSnapshot, seen: Observation, found: Finding) -> Finding:
    """The finding with a wait for one that was well and fell silent, where nobody tells whether a client keeps it busy."""
    since = silent_since(seen)
    if snapshot.nudges or not seen.succeeded or since is None or found.hold:
        return found
    why = "it may be at work for a client, which nobody sees behind this proxy"
    return given(snapshot, found, why, later(since, UNSEEN_PATIENCE)) or found


def tells(snapshot: FleetSnapshot, seen: Observation, through: Observation) -> bool:
    """Whether an answer through the proxy says that the member itself can do what failed, and does not come from a memory."""
    remembers = snapshot.holds_sessions and snapshot.lists_from_cache and not snapshot.reconnects
    return through.proved or not (remembers or seen.stage in CALLS)
