"""From one snapshot of the fleet to named causes: compare the vantages, never merge them. Pure.

Names one cause per trouble, with evidence, the member to repair and the lowest rung that fits. A cause that explains others
(the proxy is down) speaks for them: the routes it affects get no cause of their own. What answers is judged by what it says,
whatever phase it is in. Where the vantages cannot be compared yet the answer is to look again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.member import Phase, Want
from mcpwatch.watchdog.diagnose_member import diagnose_member
from mcpwatch.watchdog.diagnose_proxy import diagnose_proxy, own_trouble
from mcpwatch.watchdog.diagnose_route import diagnose_route
from mcpwatch.watchdog.evidence import said
from mcpwatch.watchdog.finding import UNKILLABLE, Finding, Findings, LookAgain
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, FleetSnapshot, MemberSnapshot

CROWD = 3
"""So many members falling silent at the same time are the machine's doing, not theirs."""


def diagnose(snapshot: FleetSnapshot) -> Findings:
    """One cause per trouble, the farthest-reaching first, and what has to be looked at again."""
    engine, host = _engine(snapshot), _host(snapshot)
    proxy, front = diagnose_proxy(snapshot), snapshot.front
    away = front is not None and (front.want is Want.DOWN or front.phase is not Phase.RUNNING)
    unserved = away or isinstance(proxy, Finding)
    seen: list[Finding | LookAgain | None] = [engine, host]
    seen += _each(proxy) or _each(None if away else own_trouble(snapshot))
    down = {member.name for member in snapshot.members if member.want is Want.UP and member.down}
    spoken_for = set(host.members) if host else set[str]()
    for member in snapshot.members:
        unwanted = member.want is Want.DOWN and member.hindered != UNKILLABLE
        if unwanted or member.name == snapshot.proxy or member.name in spoken_for:
            continue
        if (engine and member.runtime in snapshot.engines_gone) or (unserved and member.carried.hosted):
            continue
        own = diagnose_member(snapshot, member, down)
        seen += [own] if unserved else _with_route(snapshot, member, own)
    looks = sorted((one for one in seen if isinstance(one, LookAgain)), key=lambda one: one.deep)
    return Findings(
        tuple(_within_reach(snapshot, one) for one in seen if isinstance(one, Finding)),
        tuple({look.member: look for look in looks}.values()),
    )


def _with_route(
    snapshot: FleetSnapshot, member: MemberSnapshot, own: Finding | LookAgain | None
) -> list[Finding | LookAgain | None]:
    """What is wrong with a member, which explains its route; of one that only goes to and fro, with the route that stays down."""
    if own is None:
        return [diagnose_route(snapshot, member)]
    flaps = isinstance(own, Finding) and own.cause == "flapping" and member.through is not None and member.through.bad
    route = diagnose_route(snapshot, member) if flaps else None
    if not isinstance(route, Finding):
        return [own]
    hold = f"waiting until '{member.name}' is steady: it fails and recovers again and again" if route.rung else route.hold
    return [replace(route, hold=hold), own]


def _each(told: Finding | tuple[LookAgain, ...] | None) -> tuple[Finding | LookAgain, ...]:
    return told if isinstance(told, tuple) else (told,) if told else ()


def _within_reach(snapshot: FleetSnapshot, found: Finding) -> Finding:
    """What an engine carries cannot be repaired while that is away."""
    subject = snapshot.member(found.subject)
    if found.rung is None or not snapshot.engine_gone or subject is None or subject.runtime not in snapshot.engines_gone:
        return found
    return replace(found, rung=None, hold="waiting for the engine that carries it")


def _engine(snapshot: FleetSnapshot) -> Finding | None:
    """The container engine is away: nothing about its members can be known or repaired."""
    if not snapshot.engine_gone:
        return None
    carried = tuple(member for member in snapshot.members if member.runtime in snapshot.engines_gone)
    return Finding(
        cause="engine_gone",
        subject="engine",
        text="the cluster does not answer" if snapshot.engines_gone == ("kubernetes",) else "the container engine does not answer",
        about="engine",
        evidence=(snapshot.engine_gone,),
        affects=_routes(carried),
        members=_names(carried),
    )


def _host(snapshot: FleetSnapshot) -> Finding | None:
    """All members that can be probed stopped answering at once: not one of them is to blame, and no restart helps."""
    asked = [
        (member, member.direct)
        for member in snapshot.members
        if member.direct is not None
        and member.want is Want.UP
        and member.phase is Phase.RUNNING
        and not member.carried.watched
        and member.name != snapshot.proxy
    ]
    silent = [member for member, seen in asked if seen.bad and seen.symptom in HUNG_SYMPTOMS]
    if len(asked) < CROWD or len(silent) < len(asked) or any(one.stopped_processes or one.paused for one in silent):
        return None
    return Finding(
        cause="host_trouble",
        subject="host",
        text=f"all {len(asked)} members stopped answering at once: look at memory, disk and load of this machine",
        about="host",
        evidence=tuple(said(member.name, member.direct) for member in silent),
        affects=_routes(silent),
        members=_names(silent),
    )


def _routes(members: Iterable[MemberSnapshot]) -> tuple[str, ...]:
    return tuple(member.route for member in members if member.route)


def _names(members: Iterable[MemberSnapshot]) -> tuple[str, ...]:
    return tuple(member.name for member in members)
