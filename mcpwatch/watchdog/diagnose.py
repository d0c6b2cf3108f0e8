"""From everything that was seen to named causes: compare the vantages, never merge them. Pure.

The input is one frozen `Scene`: what each member's lifecycle says, what each direct probe and each probe through the proxy said,
who started when. The output names one cause per trouble, with evidence, the member to repair and the lowest rung that fits.
A cause that explains others (the proxy is down) speaks for them: the routes it affects get no cause of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.scene import CONFIG_SYMPTOMS, CONTAINERS, GONE_SYMPTOMS, HUNG_SYMPTOMS, Actor, Scene, Seen, evidence, said
from mcpwatch.watchdog.through import judge_route, newer, together

CROWD = 3
"""So many members falling silent at the same time are the machine's doing, not theirs."""

OWN_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.OPEN, Stage.ENDPOINT})
"""Stages of a probe that any proxy answers by itself."""
CACHED_STAGES = frozenset({Stage.DISCOVER, Stage.INITIALIZE, Stage.INITIALIZED, Stage.PING, Stage.TOOLS_LIST})
"""Those that one which lists from a cache answers by itself too."""

KERNEL_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT})
"""Those that need no process at all."""

_PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|port is already allocated|port is taken|Errno 98", re.IGNORECASE)


def diagnose(scene: Scene) -> tuple[Diagnosis, ...]:
    """One cause per trouble, the farthest-reaching first."""
    engine, proxy, host = _engine(scene), _proxy(scene), _host(scene)
    found = [cause for cause in (engine, host, proxy) if cause is not None]
    spoken_for = set(host.members) if host else set[str]()
    down = {actor.name for actor in scene.actors if actor.want is Want.UP and actor.down}
    for actor in scene.actors:
        if actor.want is Want.DOWN or actor.name == scene.proxy or actor.name in spoken_for:
            continue
        if (engine and actor.runtime in CONTAINERS) or (proxy and actor.runtime == "hosted"):
            continue
        cause = _member(actor, down) or (None if proxy else judge_route(scene, actor))
        if cause is not None:
            found.append(cause)
    return tuple(together(found))


def _engine(scene: Scene) -> Diagnosis | None:
    """The container engine is away: nothing about its members can be known or repaired."""
    if not scene.engine_gone:
        return None
    carried = tuple(actor for actor in scene.actors if actor.runtime in CONTAINERS)
    text = "the container engine does not answer"
    return Diagnosis("engine_gone", "engine", text, (scene.engine_gone,), None, _routes(carried), members=_names(carried))


def _host(scene: Scene) -> Diagnosis | None:
    """Everybody who can be asked stopped answering at once: not one of them is to blame, and no restart helps."""
    asked = [
        actor
        for actor in scene.actors
        if actor.direct is not None
        and actor.want is Want.UP
        and actor.phase is Phase.RUNNING
        and actor.runtime != "external"
        and actor.name != scene.proxy
    ]
    silent = [
        actor
        for actor in asked
        if actor.direct and actor.direct.bad and actor.direct.symptom in HUNG_SYMPTOMS and not actor.stopped_processes
    ]
    if len(asked) < CROWD or len(silent) < len(asked) or any(actor.stopped_processes for actor in silent):
        return None
    text = f"all {len(asked)} members stopped answering at once: look at memory, disk and load of this machine"
    why = tuple(said(actor.name, actor.direct) for actor in silent)
    return Diagnosis("host_trouble", "host", text, why, None, _routes(silent), members=_names(silent))


def _proxy(scene: Scene) -> Diagnosis | None:
    """The proxy itself is down or hung; then it speaks for all of its routes."""
    proxy = scene.front
    if proxy is None or proxy.want is Want.DOWN:
        return None
    affected, hosted = _routes(scene.actors), _names(actor for actor in scene.actors if actor.runtime == "hosted")
    if proxy.planned:
        text = "it is being restarted as asked"
        return Diagnosis("planned_restart", proxy.name, text, evidence(proxy), None, affected, members=hosted)
    if proxy.down or proxy.phase is Phase.STOPPING:  # a repair ends it: what it hosts goes with it, and is not to blame
        text = f"the proxy is down ({proxy.last_exit or proxy.phase})"
        return Diagnosis("proxy_down", proxy.name, text, evidence(proxy), None, affected, members=hosted)
    if proxy.phase is not Phase.RUNNING:
        return None
    routes = [  # whoever is stopped itself says nothing of the proxy
        actor
        for actor in scene.actors
        if actor.through is not None and actor.want is Want.UP and actor.phase is Phase.RUNNING and not actor.stopped_processes
    ]
    silent = [
        actor for actor in routes if actor.through and actor.through.bad and actor.through.symptom in HUNG_SYMPTOMS | GONE_SYMPTOMS
    ]
    fine_direct = [actor for actor in silent if actor.direct is None or not actor.direct.bad]
    proxy_bad = proxy.direct is not None and proxy.direct.bad
    every = len(routes) > 1 and len(silent) == len(routes) and fine_direct
    if proxy_bad or every or any(_at_the_door(scene, actor, routes) for actor in silent) or _several(proxy, fine_direct, routes):
        why = evidence(proxy) + tuple(said(actor.route or actor.name, actor.through) for actor in silent)
        return Diagnosis("proxy_hung", proxy.name, "the proxy runs but answers nobody", why, "restart", affected, members=hosted)
    return None


def _at_the_door(scene: Scene, actor: Actor, routes: list[Actor]) -> bool:
    """Whether a route fails at a stage that the proxy answers by itself, and nobody got through it since."""
    seen = actor.through
    own = OWN_STAGES | CACHED_STAGES if scene.lists_from_cache else OWN_STAGES
    if seen is None or seen.result is None or seen.result.stage not in own or seen.since is None:
        return False
    return not _answered((other.through for other in routes), seen.since)


def _several(proxy: Actor, silent: list[Actor], routes: list[Actor]) -> bool:
    """Whether several routes fell silent, of members that are well and older than the proxy, and it answered nobody since."""
    since = [one.since for actor in silent if (one := actor.through) and one.since is not None and not newer(actor, proxy)]
    own = proxy.direct if proxy.direct is not None and _spoke(proxy.direct) else None
    return len(since) > 1 and not _answered((own, *(actor.through for actor in routes)), min(since))


def _answered(seen: Iterable[Seen | None], since: Instant) -> bool:
    """Whether any of these probes was answered since then."""
    return any(one is not None and not one.failures and one.at is not None and one.at >= since for one in seen)


def _spoke(seen: Seen) -> bool:
    """Whether the latest probe came farther than a connection, which the kernel takes for a process that is stopped too."""
    return seen.result is not None and any(timing.stage not in KERNEL_STAGES for timing in seen.result.timings)


def _routes(actors: Iterable[Actor]) -> tuple[str, ...]:
    return tuple(actor.route for actor in actors if actor.route)


def _names(actors: Iterable[Actor]) -> tuple[str, ...]:
    return tuple(actor.name for actor in actors)


def _member(actor: Actor, down: set[str]) -> Diagnosis | None:
    """What is wrong with the member itself, seen past the proxy."""
    routes = (actor.route,) if actor.route else ()
    if actor.planned:
        return Diagnosis("planned_restart", actor.name, "it is being restarted as asked", evidence(actor), None, routes)
    if actor.down:
        if actor.foreign_port or _PORT_TAKEN.search(actor.last_exit):
            who = actor.foreign_port or "somebody else"
            return Diagnosis("port_taken", actor.name, f"its port is held by {who}", evidence(actor), None, routes)
        if actor.oom:
            return Diagnosis("member_oom", actor.name, "it was killed for using too much memory", evidence(actor), None, routes)
        text = f"the member is down: {actor.last_exit}" if actor.last_exit else "the member is down"
        return Diagnosis("member_down", actor.name, text, evidence(actor), None, routes)
    if actor.phase is not Phase.RUNNING:
        return None
    if actor.stopped_processes:
        rung = None if actor.runtime == "external" else "restart"
        return Diagnosis("member_hung", actor.name, "its processes are stopped (state T)", evidence(actor), rung, routes)
    seen = actor.direct if actor.direct is not None else actor.through if actor.runtime == "hosted" else None
    if seen is None or not seen.bad:
        return None
    broken = [name for name in actor.depends_on if name in down]
    if broken:
        text = f"what it depends on is down: {', '.join(broken)}"
        return Diagnosis("dependency", actor.name, text, evidence(actor), None, routes)
    return _judge_symptom(actor, seen, routes)


def _judge_symptom(actor: Actor, seen: Seen, routes: tuple[str, ...]) -> Diagnosis:
    """Name the cause of a failing probe of the member itself."""
    why, restart = evidence(actor), None if actor.runtime == "external" else "restart"
    symptom = seen.symptom
    if symptom in HUNG_SYMPTOMS or symptom in GONE_SYMPTOMS:
        where = seen.result.symptom_text if seen.result else ""
        text = "the member runs but does not answer" + (f" ({where})" if where else "")
        return Diagnosis("member_hung", actor.name, text, why, restart, routes)
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        text = "it refuses our token" if symptom is Symptom.AUTH else "it answers without a token"
        return Diagnosis("auth", actor.name, text, why, None, routes)
    if symptom in (Symptom.EMPTY_TOOLS, Symptom.MISSING_TOOLS):
        return Diagnosis("empty_tools", actor.name, "it lists fewer tools than it should", why, restart, routes)
    if symptom in CONFIG_SYMPTOMS:
        return Diagnosis("config", actor.name, f"its configuration or contract is wrong ({symptom})", why, None, routes)
    if symptom in (Symptom.TOOL_ERROR, Symptom.UNEXPECTED):
        return Diagnosis("dependency", actor.name, "it answers, but its own upstream fails the call", why, None, routes)
    if symptom is Symptom.WRONG_SERVER:
        return Diagnosis("port_taken", actor.name, "another server answers in its place", why, None, routes)
    return Diagnosis("member_failing", actor.name, f"the member fails its checks ({symptom or 'unknown'})", why, restart, routes)
