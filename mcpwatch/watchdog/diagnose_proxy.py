"""What is wrong with the proxy itself, so that it speaks for all of its routes; and what its own checks say beside that. Pure.

Owns: when the silence of routes is the proxy's and not that of the members behind it. It is blamed for what it answers by itself,
after whoever may know better was looked at. Must not know: what a single route says of its member (`diagnose_route`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.symptom import DOOR_STAGES
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose_member import port_holder
from mcpwatch.watchdog.diagnose_symptom import by_symptom
from mcpwatch.watchdog.doubt import silent_long
from mcpwatch.watchdog.evidence import evidence, said
from mcpwatch.watchdog.finding import UNKILLABLE, Finding, LookAgain, Rung, undoing
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation
from mcpwatch.watchdog.starved import STARVED_SYMPTOMS
from mcpwatch.watchdog.unfit import unusable
from mcpwatch.watchdog.vantages import newer, since_change

CACHED_STAGES = frozenset({Stage.DISCOVER, Stage.INITIALIZE, Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST})
"""Those that one which lists from a cache answers by itself too."""

HEARD = 60.0
"""Seconds for which what a proxy's log said of the proxy itself is a reason for what fails now."""

KERNEL_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT})
"""Those that need no process at all."""


def diagnose_proxy(snapshot: FleetSnapshot) -> Finding | tuple[LookAgain, ...] | None:
    """The proxy itself is down or hung, which speaks for all of its routes; or where to look before that can be said."""
    proxy = snapshot.front
    if proxy is not None and proxy.hindered == UNKILLABLE:
        return _whole(snapshot, proxy, UNKILLABLE, proxy.hindrance)
    if proxy is None or proxy.want is Want.DOWN:
        return None
    if proxy.planned:
        return _whole(snapshot, proxy, "planned_restart", f"it is being restarted {proxy.planned_why}")
    if proxy.down and (holder := port_holder(proxy)):
        return _whole(snapshot, proxy, "port_taken", f"the proxy's port is held by {holder}")
    if proxy.down or proxy.phase is Phase.STOPPING:  # a repair ends it: what it hosts goes with it, and is not to blame
        return _down(snapshot, proxy)
    if proxy.phase is not Phase.RUNNING:
        return None
    if proxy.paused:
        return _whole(snapshot, proxy, "paused", "its container is paused", "resume")
    if proxy.stopped_processes:
        return _whole(snapshot, proxy, "proxy_hung", "its processes are stopped (state T)", "resume")
    if proxy.hindered and any(one.bad for one in _failing(snapshot, proxy)):
        return _whole(snapshot, proxy, proxy.hindered, proxy.hindrance, undoing(proxy.hindered))
    return _exhausted(snapshot, proxy) or _silent(snapshot, proxy)


def _down(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> Finding:
    """It is down. One that starts its servers one after the other, and ends with the first that fails, was at one of them."""
    found = _whole(snapshot, proxy, "proxy_down", f"the proxy is down ({proxy.last_exit or proxy.phase})")
    at = next((one for one in snapshot.members if one.route and one.route == snapshot.mounting), None)
    if at is None or not proxy.down:
        return found
    hint = snapshot.hint(at.route)
    told = (f"proxy log: {hint.text}",) if hint is not None else ()
    own = (said(at.name, at.direct),) if at.direct is not None and at.direct.bad else ()
    text = f"{found.text}: it was starting '{at.name}', and ends as a whole where one of its servers does not start"
    look_at = f"'{at.name}' and what it needs, then the log of '{proxy.name}'; without '{at.name}' the others could be served"
    return replace(found, text=text, evidence=(*found.evidence, *told, *own), look_at=look_at)


def own_trouble(snapshot: FleetSnapshot) -> Finding | tuple[LookAgain, ...] | None:
    """What the own checks of a proxy that runs and is not silent say of it. It speaks for no route.

    As long as anybody gets through no restart answers it, and before one does every route is looked at.
    """
    proxy = snapshot.front
    if proxy is None or proxy.direct is None or not proxy.direct.bad:
        return None
    if proxy.direct.symptom is None:
        return (LookAgain(proxy.name),)  # it was well a moment ago
    routes = _routed(snapshot)
    found = by_symptom(snapshot, proxy, proxy.direct)
    if _answered((one.through for one in routes), proxy.direct.since):
        words = f"its own check fails ({found.text}), yet its routes are answered"
        cause = "member_failing" if proxy.direct.mute else found.cause
        return replace(found, cause=cause, rung=None, text=words, hold="left alone while its routes are answered")
    return (_unseen(routes, proxy.direct.since) if found.rung else ()) or found


def _whole(
    snapshot: FleetSnapshot,
    proxy: MemberSnapshot,
    cause: str,
    text: str,
    rung: Rung | None = None,
    why: tuple[str, ...] = (),
) -> Finding:
    """A cause that is the whole proxy's."""
    failing = _failing(snapshot, proxy)
    sure = [one for one in failing if not silent_long(one)]
    return Finding(
        cause=cause,
        subject=proxy.name,
        text=text,
        about=f"member:{proxy.name}",
        evidence=(*evidence(proxy), *why),
        rung=None if proxy.carried.watched else rung,
        affects=tuple(member.route for member in snapshot.members if member.route),
        members=tuple(member.name for member in snapshot.members if member.carried.hosted),
        seen_until=max((one.at for one in sure or failing if one.at is not None), default=None),
        look_at=f"the log of '{proxy.name}' and the load of this machine",
        unsure="silent" if failing and not sure else "",
    )


def _failing(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> list[Observation]:
    """What was seen of the proxy and through it, as far as it failed."""
    seen = [proxy.direct, *(member.through for member in snapshot.members)]
    return [one for one in seen if one is not None and one.failures]


def _exhausted(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> Finding | None:
    """The kernel, or the proxy's own log, says that it has no file descriptor left, and something fails of it that this explains.

    A gateway that closes a new connection at once is at work, and goes on with those that it has: clients took the descriptors.
    """
    hint = next((hint for hint in snapshot.proxy_log if not hint.route and hint.meaning == "exhausted"), None)
    logged = hint is not None and snapshot.at - hint.at < HEARD
    well = [one.through for one in _routed(snapshot) if one.direct is None or not one.direct.failures]
    failing = [one for one in (proxy.direct, *well) if one is not None and one.failures]
    if not (logged or proxy.descriptors) or not any(one.symptom in STARVED_SYMPTOMS for one in failing):
        return None
    text = f"the proxy is out of file descriptors: {proxy.descriptors}".rstrip(": ")
    why = (f"proxy log: {hint.text}",) if hint is not None and logged else ()
    if not snapshot.nudges or not any(one.symptom is Symptom.CUT for one in failing):
        return _whole(snapshot, proxy, "proxy_exhausted", text, "restart", why)
    found = _whole(snapshot, proxy, "proxy_exhausted", f"{text}; it goes on with the connections that it has", None, why)
    return replace(found, look_at=f"who holds connections of '{proxy.name}' open, and its limit of open files (ulimit -n)")


def _silent(snapshot: FleetSnapshot, proxy: MemberSnapshot) -> Finding | tuple[LookAgain, ...] | None:
    """The proxy runs, but nobody gets an answer of it."""
    routes = _routed(snapshot)
    silent = [one for one in routes if one.through and one.through.mute]
    why = tuple(said(member.route or member.name, member.through) for member in silent)
    hung = _whole(snapshot, proxy, "proxy_hung", "the proxy runs but answers nobody", "restart", why)
    if proxy.direct is not None and proxy.direct.mute and not _answered((one.through for one in routes), proxy.direct.since):
        return (_unseen(routes, proxy.direct.since) if proxy.direct.stage not in KERNEL_STAGES else ()) or hung
    fine = [one for one in silent if one.direct is None or not one.direct.bad]
    own = proxy.direct if proxy.direct is not None and _spoke(proxy.direct) else None
    if not (
        _every(silent, fine, routes, own)
        or any(_at_the_door(snapshot, one, routes) for one in silent)
        or _several(proxy, fine, routes, own)
    ):
        return None
    stale = tuple(LookAgain(one.name) for one in fine if one.through and not since_change(snapshot, one, one.through))
    return stale or hung


def _routed(snapshot: FleetSnapshot) -> list[MemberSnapshot]:
    """Members whose routes tell of the proxy: whoever is stopped itself, or answers in no usual form, says nothing of it."""
    return [
        member
        for member in snapshot.members
        if member.through is not None
        and member.want is Want.UP
        and member.phase is Phase.RUNNING
        and not (member.stopped_processes or member.paused or unusable(member))
    ]


def _every(silent: list[MemberSnapshot], fine: list[MemberSnapshot], routes: list[MemberSnapshot], own: Observation | None) -> bool:
    """Whether no route of several says anything, at least one of a member that is well, nor did the proxy itself since."""
    since = [one.through.since for one in silent if one.through and one.through.since is not None]
    return bool(fine) and len(routes) > 1 and len(silent) == len(routes) and not _answered((own,), min(since, default=None))


def _at_the_door(snapshot: FleetSnapshot, member: MemberSnapshot, routes: list[MemberSnapshot]) -> bool:
    """Whether a route of a member that is not silent too fails where the proxy answers by itself, and nobody got through since."""
    seen = member.through
    own = DOOR_STAGES | CACHED_STAGES if snapshot.lists_from_cache else DOOR_STAGES
    if seen is None or seen.stage not in own or (member.direct is not None and member.direct.mute):
        return False
    return not _answered((other.through for other in routes), seen.since)


def _several(proxy: MemberSnapshot, silent: list[MemberSnapshot], routes: list[MemberSnapshot], own: Observation | None) -> bool:
    """Whether several routes fell silent, of members that are well and older than the proxy, and it answered nobody since."""
    since = [one.since for member in silent if (one := member.through) and one.since is not None and not newer(member, proxy)]
    return len(since) > 1 and not _answered((own, *(member.through for member in routes)), min(since))


def _unseen(routes: list[MemberSnapshot], since: Instant | None) -> tuple[LookAgain, ...]:
    """Routes that nobody looked at since then."""
    return tuple(
        LookAgain(one.name)
        for one in routes
        if since is None or one.through is None or one.through.began_at is None or one.through.began_at < since
    )


def _answered(seen: Iterable[Observation | None], since: Instant | None) -> bool:
    """Whether any of these probes was answered since then. Where it is not known since when, it cannot be said that none was."""
    return since is None or any(one is not None and not one.failures and one.at is not None and one.at >= since for one in seen)


def _spoke(seen: Observation) -> bool:
    """Whether the latest probe came farther than a connection, which the kernel takes for a process that is stopped too."""
    return seen.result is not None and any(timing.stage not in KERNEL_STAGES for timing in seen.result.timings)
