"""From everything that was seen to named causes: compare the vantages, never merge them. Pure.

The input is one frozen `Scene`: what each member's lifecycle says, what each direct probe and each probe through the proxy said,
who started when. The output names one cause per trouble, with evidence, the member to repair and the lowest rung that fits.
A cause that explains others (the proxy is down) speaks for them: the routes it affects get no cause of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis

CONFIG_SYMPTOMS = frozenset(
    {Symptom.SCHEMA, Symptom.DRIFT, Symptom.REDIRECT, Symptom.HOST_GUARD, Symptom.TLS, Symptom.ERA_MISMATCH}
)
HUNG_SYMPTOMS = frozenset({Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.NO_ENDPOINT})
GONE_SYMPTOMS = frozenset({Symptom.REFUSED, Symptom.UNREACHABLE, Symptom.CUT})
CONTAINERS = ("docker", "swarm")
STALE_SYMPTOMS = frozenset(
    {Symptom.SESSION_LOST, Symptom.STALE_SESSION, Symptom.RPC_ERROR, Symptom.TOOL_ERROR, Symptom.EMPTY_TOOLS}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one vantage says now: the verdict, and the latest result with its streak of failures."""

    verdict: Verdict = Verdict.UNKNOWN
    result: ProbeResult | None = None
    failures: int = 0

    @property
    def symptom(self) -> Symptom | None:
        """The symptom of the latest result."""
        return self.result.symptom if self.result else None

    @property
    def bad(self) -> bool:
        """Whether the thresholds are passed."""
        return self.verdict is Verdict.UNHEALTHY


@dataclass(frozen=True, slots=True)
class Actor:
    """One member of the scene. `direct` is `None` when it cannot be probed past the proxy (hosted)."""

    name: str
    kind: str
    runtime: str
    want: Want
    phase: Phase
    started_at: Instant | None = None
    direct: Seen | None = None
    route: str | None = None
    through: Seen | None = None
    last_exit: str = ""
    oom: bool = False
    depends_on: tuple[str, ...] = ()
    failures: int = 0
    """Unplanned ends since it was last stable: a start after them has still to be proven."""
    stopped_processes: bool = False
    """The kernel says its processes are stopped (state T)."""
    foreign_port: str = ""
    """Who else holds the member's port, when somebody does."""

    @property
    def down(self) -> bool:
        """Whether it is down, or was and has not proven itself since."""
        return self.phase in (Phase.BACKOFF, Phase.FAILED) or (self.phase is Phase.STARTING and self.failures > 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """The whole fleet at one moment. `holds_sessions` and `mounts_late` are traits of the proxy."""

    at: Instant
    actors: tuple[Actor, ...]
    proxy: str | None = None
    holds_sessions: bool = False
    mounts_late: bool = True
    lists_from_cache: bool = False
    engine_gone: str = ""
    proxy_said: tuple[tuple[str, str], ...] = ()
    """Member name to what the proxy's own log last said of it."""


def diagnose(scene: Scene) -> tuple[Diagnosis, ...]:
    """One cause per trouble, the farthest-reaching first."""
    engine, proxy = _engine(scene), _proxy(scene)
    found = [cause for cause in (engine, proxy) if cause is not None]
    down = {actor.name for actor in scene.actors if actor.want is Want.UP and actor.down}
    for actor in scene.actors:
        if actor.want is Want.DOWN or actor.name == scene.proxy:
            continue
        if (engine and actor.runtime in CONTAINERS) or (proxy and actor.runtime == "hosted"):
            continue
        cause = _member(actor, down) or (None if proxy else _route(scene, actor))
        if cause is not None:
            found.append(cause)
    return tuple(found)


def _engine(scene: Scene) -> Diagnosis | None:
    """The container engine is away: nothing about its members can be known or repaired."""
    if not scene.engine_gone:
        return None
    carried = tuple(actor.name for actor in scene.actors if actor.runtime in CONTAINERS)
    return Diagnosis("engine_gone", "engine", "the container engine does not answer", (scene.engine_gone,), None, carried)


def _proxy(scene: Scene) -> Diagnosis | None:
    """The proxy itself is down or hung; then it speaks for all of its routes."""
    proxy = next((actor for actor in scene.actors if actor.name == scene.proxy), None)
    if proxy is None or proxy.want is Want.DOWN:
        return None
    affected = tuple(actor.route for actor in scene.actors if actor.route) + tuple(
        actor.name for actor in scene.actors if actor.runtime == "hosted"
    )
    if proxy.down:
        text = f"the proxy is down ({proxy.last_exit or proxy.phase})"
        return Diagnosis("proxy_down", proxy.name, text, _evidence(proxy), None, affected)
    if proxy.phase is not Phase.RUNNING:
        return None
    routes = [
        actor for actor in scene.actors if actor.through is not None and actor.want is Want.UP and actor.phase is Phase.RUNNING
    ]
    silent = [
        actor for actor in routes if actor.through and actor.through.bad and actor.through.symptom in HUNG_SYMPTOMS | GONE_SYMPTOMS
    ]
    fine_direct = [actor for actor in silent if actor.direct is None or not actor.direct.bad]
    proxy_bad = proxy.direct is not None and proxy.direct.bad
    if proxy_bad or (len(routes) > 1 and len(silent) == len(routes) and fine_direct):
        why = _evidence(proxy) + tuple(_said(actor.route or actor.name, actor.through) for actor in silent)
        return Diagnosis("proxy_hung", proxy.name, "the proxy runs but answers nobody", why, "restart", affected)
    return None


def _member(actor: Actor, down: set[str]) -> Diagnosis | None:
    """What is wrong with the member itself, seen past the proxy."""
    routes = (actor.route,) if actor.route else ()
    if actor.down:
        if actor.foreign_port:
            return Diagnosis("port_taken", actor.name, f"its port is held by {actor.foreign_port}", _evidence(actor), None, routes)
        if actor.oom:
            return Diagnosis("member_oom", actor.name, "it was killed for using too much memory", _evidence(actor), None, routes)
        text = f"the member is down: {actor.last_exit}" if actor.last_exit else "the member is down"
        return Diagnosis("member_down", actor.name, text, _evidence(actor), None, routes)
    if actor.phase is not Phase.RUNNING:
        return None
    seen = actor.direct if actor.direct is not None else actor.through if actor.runtime == "hosted" else None
    if seen is None or not seen.bad:
        return None
    broken = [name for name in actor.depends_on if name in down]
    if broken:
        text = f"what it depends on is down: {', '.join(broken)}"
        return Diagnosis("dependency", actor.name, text, _evidence(actor), None, routes)
    return _judge_symptom(actor, seen, routes)


def _judge_symptom(actor: Actor, seen: Seen, routes: tuple[str, ...]) -> Diagnosis:
    """Name the cause of a failing probe of the member itself."""
    evidence, restart = _evidence(actor), None if actor.runtime == "external" else "restart"
    symptom = seen.symptom
    if actor.stopped_processes:
        return Diagnosis("member_hung", actor.name, "its processes are stopped (state T)", evidence, restart, routes)
    if symptom in HUNG_SYMPTOMS or symptom in GONE_SYMPTOMS:
        where = seen.result.symptom_text if seen.result else ""
        text = "the member runs but does not answer" + (f" ({where})" if where else "")
        return Diagnosis("member_hung", actor.name, text, evidence, restart, routes)
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        text = "it refuses our token" if symptom is Symptom.AUTH else "it answers without a token"
        return Diagnosis("auth", actor.name, text, evidence, None, routes)
    if symptom in (Symptom.EMPTY_TOOLS, Symptom.MISSING_TOOLS):
        return Diagnosis("empty_tools", actor.name, "it lists fewer tools than it should", evidence, restart, routes)
    if symptom in CONFIG_SYMPTOMS:
        return Diagnosis("config", actor.name, f"its configuration or contract is wrong ({symptom})", evidence, None, routes)
    if symptom in (Symptom.TOOL_ERROR, Symptom.UNEXPECTED):
        return Diagnosis("dependency", actor.name, "it answers, but its own upstream fails the call", evidence, None, routes)
    if symptom is Symptom.WRONG_SERVER:
        return Diagnosis("port_taken", actor.name, "another server answers in its place", evidence, None, routes)
    return Diagnosis(
        "member_failing", actor.name, f"the member fails its checks ({symptom or 'unknown'})", evidence, restart, routes
    )


def _route(scene: Scene, actor: Actor) -> Diagnosis | None:
    """The member is well, but not through the proxy."""
    seen = actor.through
    if seen is None or not seen.bad or actor.phase is not Phase.RUNNING or scene.proxy is None:
        return None
    proxy = next((other for other in scene.actors if other.name == scene.proxy), None)
    if proxy is None or proxy.phase is not Phase.RUNNING:
        return None
    routes = (actor.route or actor.name,)
    evidence = _evidence(actor) + tuple(f"proxy log: {said}" for name, said in scene.proxy_said if name == actor.name)
    repair = None if proxy.runtime == "external" else "restart_proxy"
    symptom = seen.symptom
    if symptom is Symptom.NOT_MOUNTED:
        return Diagnosis("not_mounted", scene.proxy, f"the proxy has no route '{routes[0]}'", evidence, repair, routes)
    if symptom is Symptom.BAD_ENDPOINT:
        return Diagnosis(
            "wrong_base_url", scene.proxy, "the proxy announces a base URL that clients cannot use", evidence, None, routes
        )
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        return Diagnosis("auth", scene.proxy, f"the proxy's tokens are wrong for '{routes[0]}' ({symptom})", evidence, None, routes)
    if symptom in CONFIG_SYMPTOMS:
        return Diagnosis(
            "config", scene.proxy, f"the proxy's configuration spoils '{routes[0]}' ({symptom})", evidence, None, routes
        )
    newer = actor.started_at is not None and proxy.started_at is not None and actor.started_at > proxy.started_at
    if symptom in STALE_SYMPTOMS or scene.holds_sessions:
        why = (*evidence, "the member started after the proxy") if newer else evidence
        return Diagnosis("stale_session", scene.proxy, f"the proxy holds a stale session to '{actor.name}'", why, repair, routes)
    return Diagnosis(
        "route_failing", scene.proxy, f"'{actor.name}' answers direct, not through the proxy ({symptom})", evidence, repair, routes
    )


def _evidence(actor: Actor) -> tuple[str, ...]:
    """What each vantage said of the member, a line each."""
    lines = [f"{actor.name}: {actor.phase}"]
    if actor.last_exit:
        lines.append(f"last exit: {actor.last_exit}")
    if actor.direct is not None and actor.direct.result is not None:
        lines.append(_said("direct", actor.direct))
    if actor.through is not None and actor.through.result is not None:
        lines.append(_said("through the proxy", actor.through))
    return tuple(lines)


def _said(vantage: str, seen: Seen | None) -> str:
    """One vantage in a line: `direct: timeout@tools_list (3 in a row): no answer within 10s`."""
    if seen is None or seen.result is None:
        return f"{vantage}: not seen"
    if seen.result.symptom is None:
        return f"{vantage}: ok"
    streak = f" ({seen.failures} in a row)" if seen.failures > 1 else ""
    return f"{vantage}: {seen.result.symptom_text}{streak}: {seen.result.message}".rstrip(": ")


def explained_by(diagnoses: Iterable[Diagnosis], name: str) -> Diagnosis | None:
    """The diagnosis that speaks for a member or route, if any."""
    return next((found for found in diagnoses if name == found.subject or name in found.affects), None)
