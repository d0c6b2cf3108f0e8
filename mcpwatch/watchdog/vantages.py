"""When two vantages of one member may be compared, and what the times of the member and of the proxy tell by themselves. Pure.

Must not know causes or repairs.
"""

from __future__ import annotations

from mcpwatch.model.probe import Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation


def since_change(snapshot: FleetSnapshot, member: MemberSnapshot, through: Observation, *, deep: bool = False) -> bool:
    """Whether both vantages were probed after the last change of either side, so that they may be compared.

    The member itself must have been found well after its route was first found bad, by a call where `deep`.
    """
    changed = last_change(snapshot, member)
    if through.began_at is None or through.since is None or (changed is not None and through.began_at < changed):
        return False
    if member.direct is None or member.alone:
        return True
    needed = through.since if changed is None else max(changed, through.since)
    looked = (member.direct, member.direct_call) if deep else (member.direct,)
    return all(one is not None and not one.failures and one.began_at is not None and one.began_at >= needed for one in looked)


def last_change(snapshot: FleetSnapshot, member: MemberSnapshot) -> Instant | None:
    """When the member or the proxy last changed, as far as is known: a start, an end, a recovery that was seen."""
    proxy, direct = snapshot.front, member.direct
    times = [member.started_at, member.changed_at]
    times += [proxy.started_at, proxy.changed_at] if proxy is not None else []
    times += [direct.since] if direct is not None and not direct.failures else []
    return max((time for time in times if time is not None), default=None)


def newer(member: MemberSnapshot, proxy: MemberSnapshot) -> bool:
    """Whether the member started after the proxy, which may then hold a session to its former life."""
    return member.started_at is not None and proxy.started_at is not None and member.started_at > proxy.started_at


def certain(snapshot: FleetSnapshot, member: MemberSnapshot) -> bool:
    """Whether a route that fails does not come back by itself: not mounted, or of a session to a former life of the member."""
    proxy, seen = snapshot.front, member.through
    lost = seen is not None and seen.symptom in (Symptom.NOT_MOUNTED, Symptom.SESSION_LOST, Symptom.STALE_SESSION)
    return lost or (proxy is not None and newer(member, proxy))
