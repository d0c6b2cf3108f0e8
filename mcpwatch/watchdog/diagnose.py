"""From one snapshot of the fleet to named causes: compare the vantages, never merge them. Pure.

Names one cause per trouble, with evidence, the member to repair and the lowest rung that fits. A cause that explains others
(the proxy is down) speaks for them: the routes it affects get no cause of their own. What answers is judged by what it says,
whatever phase it is in. Where the vantages cannot be compared yet the answer is to look again.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Stage
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose_member import DOOR_STAGES, diagnose_member
from mcpwatch.watchdog.diagnose_route import diagnose_route, newer, since_change
from mcpwatch.watchdog.finding import Finding, Findings, LookAgain
from mcpwatch.watchdog.snapshot import (
    GONE_SYMPTOMS,
    HUNG_SYMPTOMS,
    FleetSnapshot,
    MemberSnapshot,
    Observation,
    evidence,
    said,
)

CROWD = 3
"""So many members falling silent at the same time are the machine's doing, not theirs."""

CACHED_STAGES = frozenset({Stage.DISCOVER, Stage.INITIALIZE, Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST})
"""Those that one which lists from a cache answers by itself too."""

HEARD = 60.0
"""Seconds for which what a proxy's log said of the proxy itself is a reason for what fails now."""

KERNEL_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT})
"""Those that need no process at all."""


def diagnose(snapshot: FleetSnapshot) -> Findings:
    """One cause per trouble, the farthest-reaching first, and what has to be looked at again."""
    engine, proxy, host = _engine(snapshot), _proxy(snapshot), _host(snapshot)
    found = [cause for cause in (engine, host, proxy) if isinstance(cause, Finding)]
    looks = list(proxy) if isinstance(proxy, tuple) else []
    spoken_for = set(host.members) if host else set[str]()
    down = {member.name for member in snapshot.members if member.want is Want.UP and member.down}
    front = snapshot.front
    unserved = isinstance(proxy, Finding) or (front is not None and front.want is Want.DOWN)
    for member in snapshot.members:
        if member.want is Want.DOWN or member.name == snapshot.proxy or member.name in spoken_for:
            continue
        if (engine and member.runtime in snapshot.engines_gone) or (unserved and member.runtime == "hosted"):
            continue
        cause = diagnose_member(snapshot, member, down) or (None if unserved else diagnose_route(snapshot, member))
        if isinstance(cause, LookAgain):
            looks.append(cause)
        elif cause is not None:
            found.append(cause)
    return Findings(tuple(found), tuple({look.member: look for look in sorted(looks, key=lambda one: one.deep)}.values()))


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
        member
        for member in snapshot.members
        if member.direct is not None
        and member.want is Want.UP
        and member.phase is Phase.RUNNING
        and member.runtime != "external"
        and member.name != snapshot.proxy
    ]
    silent = [one for one in asked if one.direct and one.direct.bad and one.direct.symptom in HUNG_SYMPTOMS]
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


def _proxy(snapshot: FleetSnapshot) -> Finding | tuple[LookAgain, ...] | None:
    """The proxy itself is down or hung; then it speaks for all of its routes."""
    proxy = snapshot.front
    if proxy is None or proxy.want is Want.DOWN:
        return None
    if proxy.planned:
        return _whole(snapshot, proxy, "planned_restart", "it is being restarted as asked")
    if proxy.down or proxy.phase is Phase.STOPPING:  # a repair ends it: what it hosts goes with it, and is not to blame
        return _whole(snapshot, proxy, "proxy_down", f"the proxy is down ({proxy.last_exit or proxy.phase})")
    if proxy.phase is not Phase.RUNNING:
        return None
    if proxy.paused or proxy.stopped_processes:
        text = "its container is paused" if proxy.paused else "its processes are stopped (state T)"
        return _whole(snapshot, proxy, "paused" if proxy.paused else "proxy_hung", text, "resume")
    return _exhausted(snapshot, proxy) or _silent(snapshot, proxy)


def _whole(
    snapshot: FleetSnapshot,
    proxy: MemberSnapshot,
    cause: str,
    text: str,
    rung: str | None = None,
    why: tuple[str, ...] = (),
) -> Finding:
    """A cause that is the whole proxy's."""
    return Finding(
        cause=cause,
        subject=proxy.name,
        text=text,
        about=f"member:{proxy.name}",
        evidence=(*evidence(proxy), *why),
        rung=None if proxy.runtime == "external" or rung is None else "resume" if rung == "resume" else "restart",
        affects=_routes(snapshot.members),
        members=_names(member for member in snapshot.members if member.runtime == "hosted"),
        seen_until=max((one.at for one in _all_seen(snapshot, proxy) if one.at is not None), default=None),
        look_at=f"the log of '{proxy.name}' and the load of this machine",
    )


def _all_seen(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> list[Observation]:
    """What was seen of the proxy and through it, as far as it failed."""
    seen = [proxy.direct, *(member.through for member in snapshot.members)]
    return [one for one in seen if one is not None and one.failures]


def _exhausted(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> Finding | None:
    """The proxy's own log says that it has no file descriptor left, and something fails through it or at it."""
    hint = next((hint for hint in snapshot.proxy_log if not hint.route and hint.meaning == "exhausted"), None)
    recent = hint is not None and (hint.at is None or snapshot.at - hint.at < HEARD)
    if hint is None or not recent or not _all_seen(snapshot, proxy):
        return None
    text = "the proxy is out of file descriptors"
    return _whole(snapshot, proxy, "proxy_exhausted", text, "restart", (f"proxy log: {hint.text}",))


def _silent(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> Finding | tuple[LookAgain, ...] | None:
    """The proxy runs, but nobody gets an answer of it."""
    routes = [  # whoever is stopped itself says nothing of the proxy
        member
        for member in snapshot.members
        if member.through is not None
        and member.want is Want.UP
        and member.phase is Phase.RUNNING
        and not (member.stopped_processes or member.paused)
    ]
    silent = [one for one in routes if one.through and one.through.bad and one.through.symptom in HUNG_SYMPTOMS | GONE_SYMPTOMS]
    fine = [member for member in silent if member.direct is None or not member.direct.bad]
    why = tuple(said(member.route or member.name, member.through) for member in silent)
    hung = _whole(snapshot, proxy, "proxy_hung", "the proxy runs but answers nobody", "restart", why)
    own = proxy.direct if proxy.direct is not None and _spoke(proxy.direct) else None
    since = [one.through.since for one in silent if one.through and one.through.since is not None]
    if proxy.direct is not None and proxy.direct.bad:
        return hung
    every = len(routes) > 1 and len(silent) == len(routes) and bool(fine)
    every = every and not _answered((own,), min(since, default=Instant(0.0)))
    if not every and not any(_at_the_door(snapshot, one, routes) for one in silent) and not _several(proxy, fine, routes, own):
        return None
    stale = tuple(LookAgain(one.name) for one in fine if one.direct is not None and not since_change(snapshot, one))
    return stale or hung


def _at_the_door(snapshot: FleetSnapshot, member: MemberSnapshot, routes: list[MemberSnapshot]) -> bool:
    """Whether a route fails at a stage that the proxy answers by itself, and nobody got through it since."""
    seen = member.through
    own = DOOR_STAGES | CACHED_STAGES if snapshot.lists_from_cache else DOOR_STAGES
    if seen is None or seen.result is None or seen.result.stage not in own or seen.since is None:
        return False
    return not _answered((other.through for other in routes), seen.since)


def _several(proxy: MemberSnapshot, silent: list[MemberSnapshot], routes: list[MemberSnapshot], own: Observation | None) -> bool:
    """Whether several routes fell silent, of members that are well and older than the proxy, and it answered nobody since."""
    since = [one.since for member in silent if (one := member.through) and one.since is not None and not newer(member, proxy)]
    return len(since) > 1 and not _answered((own, *(member.through for member in routes)), min(since))


def _answered(seen: Iterable[Observation | None], since: Instant) -> bool:
    """Whether any of these probes was answered since then."""
    return any(one is not None and not one.failures and one.at is not None and one.at >= since for one in seen)


def _spoke(seen: Observation) -> bool:
    """Whether the latest probe came farther than a connection, which the kernel takes for a process that is stopped too."""
    return seen.result is not None and any(timing.stage not in KERNEL_STAGES for timing in seen.result.timings)


def _routes(members: Iterable[MemberSnapshot]) -> tuple[str, ...]:
    return tuple(member.route for member in members if member.route)


def _names(members: Iterable[MemberSnapshot]) -> tuple[str, ...]:
    return tuple(member.name for member in members)
