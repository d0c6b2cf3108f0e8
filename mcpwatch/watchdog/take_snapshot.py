"""From what is held to one frozen snapshot: actors, histories and the proxy's log, read once. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Symptom
from mcpwatch.model.spec import MemberSpec, Plan, Traits
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.bridge_words import all_served
from mcpwatch.watchdog.exit_words import telling
from mcpwatch.watchdog.history import CheckHistory, Histories, worst
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.snapshot import GONE_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.starts import inside
from mcpwatch.watchdog.ways import elsewhere


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the proxy and the machine beside the members. `alone`: who bears one client only, and its last words.

    `frozen`: who had stopped processes though nothing failed; `gone`: servers inside the proxy whose process ended.
    """

    traits: Traits = Traits()
    engines_gone: Mapping[str, str] = field(default_factory=dict[str, str])
    proxy_log: tuple[ProxyLogHint, ...] = ()
    alone: Mapping[str, str] = field(default_factory=dict[str, str])
    frozen: AbstractSet[str] = frozenset()
    gone: AbstractSet[str] = frozenset()
    mounting: str = ""


def take_snapshot(
    plan: Plan, actors: Mapping[str, MemberActor], histories: Histories, senses: Senses, known: Known, now: Instant
) -> FleetSnapshot:
    """The fleet at this moment. What costs a look at the machine is asked only of members that fail."""
    ways = {one.name: one.url for one in plan.proxy.upstreams} if plan.proxy else {}
    members = tuple(_member(actor, histories, known, now, _proxy_url(actor, ways.get(name, ""))) for name, actor in actors.items())
    return FleetSnapshot(
        at=now,
        members=_looked_up(members, actors, senses, known.frozen),
        proxy=plan.proxy.member if plan.proxy else None,
        holds_sessions=known.traits.holds_sessions,
        mounts_late=known.traits.mounts_late,
        lists_from_cache=known.traits.lists_from_cache,
        engine_gone=next(iter(known.engines_gone.values()), ""),
        engines_gone=tuple(known.engines_gone),
        reconnects=known.traits.reconnects,
        proxy_log=known.proxy_log,
        nudges=known.traits.nudges,
        mounting=known.mounting if known.traits.dies_on_bad_command else "",
    )


def observe(histories: Histories, subject: str, vantage: str) -> Observation | None:
    """What a vantage says of a subject: its worst check speaks (of those that fail the plainest, else the latest)."""
    found = [history for _, history in histories.of(subject, vantage)]
    if not found:
        return None
    verdict = worst(history.verdict for history in found)
    of_it = [history for history in found if history.verdict is verdict and history.latest is not None]
    latest = max(of_it, key=lambda history: history.began_at or 0.0, default=found[0])
    speaker = next(iter(of_it), found[0]) if verdict is Verdict.UNHEALTHY else latest
    return replace(_observation(speaker), verdict=verdict, rate=max(one.rate if one.flapping else 0.0 for one in found))


def observe_call(histories: Histories, subject: str) -> Observation | None:
    """The latest direct probe that called a tool, or would have if one may be called."""
    found = [history for _, history in histories.of(subject, "direct") if history.deep and history.latest is not None]
    latest = max(found, key=lambda history: history.began_at or 0.0, default=None)
    return _observation(latest) if latest is not None else None


def _observation(history: CheckHistory) -> Observation:
    return Observation(
        verdict=history.verdict,
        result=history.latest,
        failures=history.streaks.failures,
        at=history.at,
        since=history.since,
        began_at=history.began_at,
        generation=history.generation,
        proxy_generation=history.proxy_generation,
        deep=history.deep,
        succeeded=history.succeeded,
        earlier=history.earlier,
        unbroken=bool(history.recent) and not any(history.recent),
    )


def _member(actor: MemberActor, histories: Histories, known: Known, now: Instant, proxy_url: str) -> MemberSnapshot:
    spec, state = actor.spec, actor.state
    reachable = spec.direct is not None or (actor.incarnation is not None and actor.incarnation.direct is not None)
    return MemberSnapshot(
        name=spec.name,
        kind=spec.kind,
        runtime=spec.runtime,
        want=state.want,
        phase=state.phase,
        started_at=actor.started_at if spec.runtime != "external" else None,
        direct=observe(histories, spec.name, "direct") if reachable else None,
        direct_call=observe_call(histories, spec.name) if reachable else None,
        route=spec.route,
        through=observe(histories, spec.route, "route") if spec.route else None,
        last_exit=actor.last_exit,
        oom=actor.oom,
        depends_on=spec.depends_on,
        failures=state.failures,
        foreign_port=actor.port_holder,
        planned=actor.planned,
        paused=actor.paused,
        hindered=actor.hindered[0],
        hindrance=actor.hindered[1],
        start_grace=spec.start_grace,
        changed_at=actor.changed_at if spec.runtime != "external" else None,
        port=_port(spec),
        asked_at=urlsplit(spec.direct.url).netloc if spec.direct is not None else "",
        proxy_url=proxy_url,
        child_gone=spec.name in known.gone,
        alone=known.alone.get(spec.name, ""),
        budget_at=_budget(actor, now),
    )


def _looked_up(
    members: tuple[MemberSnapshot, ...], actors: Mapping[str, MemberActor], senses: Senses, frozen: AbstractSet[str]
) -> tuple[MemberSnapshot, ...]:
    """With what only the machine can tell, of members that fail: stopped processes, ports listened on, living children."""
    mains: dict[str, tuple[int, str]] = {}  # pid and container
    within = any(_fails(member) for member in members if inside(member))
    for member in members:
        living = actors[member.name].incarnation
        failing = (
            member.name in frozen or _fails(member) or (within and member.kind == "proxy")
        )  # what runs inside the proxy is of its tree
        if failing and living is not None and living.pid is not None:
            mains[member.name] = living.pid, living.container or ""
    stopped = senses.stopped(frozenset(pid for pid, _ in mains.values()))
    made: list[MemberSnapshot] = []
    front = next((mains[member.name][0] for member in members if member.kind == "proxy" and member.name in mains), 0)
    for told in members:
        member = _with_words(told, actors[told.name].spec, senses.words(told.name)) if _silenced(told) else told
        if member.name not in mains:
            made.append(replace(member, child_runs=True) if _starts_inside(member, front, senses) else member)
            continue
        pid, container = mains[member.name]
        symptom = member.direct.symptom if member.direct is not None else None
        lost = symptom in GONE_SYMPTOMS and member.port is not None
        ports, places = (senses.listening(pid), senses.places(pid)) if lost else ((), ())
        rival = senses.rival(pid, member.port) if member.port is not None else ""
        child = symptom is Symptom.NOT_MOUNTED and senses.runs(pid, container)
        walled = senses.inside(pid, container) if container and symptom in GONE_SYMPTOMS else ()
        seen = replace(
            member,
            stopped_processes=pid in stopped,
            listens_on=ports,
            listens_at=places,
            rival=rival,
            child_runs=child,
            walled=walled,
        )
        made.append(seen)
    return tuple(made)


def _starts_inside(member: MemberSnapshot, proxy: int, senses: Senses) -> bool:
    """Whether the process of a server lives that the proxy runs inside itself and does not serve yet."""
    seen = member.through
    waited = proxy and inside(member) and seen is not None and seen.symptom is Symptom.NOT_MOUNTED and not seen.succeeded
    return bool(waited and senses.child(proxy, member.route or member.name, 0))


def _with_words(member: MemberSnapshot, spec: MemberSpec, lines: tuple[str, ...]) -> MemberSnapshot:
    """With what it wrote in its present run: what tells most, and what it serves where that is something else."""
    steps = urlsplit(spec.direct.url).path.split("/") if spec.direct is not None else []
    serves = () if member.runtime == "external" else all_served(lines)
    return replace(member, words=telling(lines), serves=() if set(serves) & set(steps) else serves)


def _silenced(member: MemberSnapshot) -> bool:
    """Whether what a member runs, or a server inside the proxy, may be gone: only its own words tell why."""
    if inside(member):
        return member.through is not None and member.through.bad
    return member.direct is not None and member.direct.bad and member.direct.symptom in (Symptom.UPSTREAM_DOWN, Symptom.NOT_MOUNTED)


def _fails(member: MemberSnapshot) -> bool:
    seen = [one for one in (member.direct, member.through) if one is not None]
    return any(one.bad or one.failures or one.rate for one in seen)


def _proxy_url(actor: MemberActor, theirs: str) -> str:
    """Where the proxy reaches it, when that is another place than where it is checked."""
    living = actor.incarnation.direct if actor.incarnation is not None else None
    return elsewhere(living or actor.spec.direct, theirs)


def _port(spec: MemberSpec) -> int | None:
    """The port of this machine where a process should answer."""
    if spec.runtime != "process" or spec.direct is None or not spec.direct.url:
        return None
    return urlsplit(spec.direct.url).port


def _budget(actor: MemberActor, now: Instant) -> Instant | None:
    """When the restart budget of a member allows one more restart; `None`: now."""
    policy = actor.spec.restart
    recent = sorted(start for start in actor.state.starts if now - start < policy.period)
    if len(recent) < policy.intensity:
        return None
    return Instant((*recent, now)[len(recent) - policy.intensity] + policy.period)
