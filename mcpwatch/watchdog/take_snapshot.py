"""From what is held to one frozen snapshot: actors, histories and the proxy's log, read once. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.spec import MemberSpec, Plan, Traits, UpstreamSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.bare_answer import bare
from mcpwatch.watchdog.contracts import KeptContract
from mcpwatch.watchdog.door import beside_the_point, broken_bytes
from mcpwatch.watchdog.doubt import silent_since
from mcpwatch.watchdog.exit_words import all_served, port_refused, telling, unserved
from mcpwatch.watchdog.finding import UNKILLABLE
from mcpwatch.watchdog.history import CheckHistory, Histories, overall
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.snapshot import GONE_SYMPTOMS, HUNG_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.starts import inside
from mcpwatch.watchdog.starved import ASKED_SYMPTOMS
from mcpwatch.watchdog.ways import elsewhere, own_port

_LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the proxy and the machine beside the members. `alone`: who bears one client only, and its last words.

    `frozen`: who had stopped processes though nothing failed; `gone`: servers inside the proxy whose process ended. `parents`: of
    which something else ran when their present run was proven; `childless`: of which nothing did.
    """

    traits: Traits = Traits()
    engines_gone: Mapping[str, str] = field(default_factory=dict[str, str])
    proxy_log: tuple[ProxyLogHint, ...] = ()
    alone: Mapping[str, str] = field(default_factory=dict[str, str])
    frozen: AbstractSet[str] = frozenset()
    gone: AbstractSet[str] = frozenset()
    mounting: str = ""
    parents: AbstractSet[str] = frozenset()
    childless: AbstractSet[str] = frozenset()
    relisted: Mapping[str, KeptContract] = field(default_factory=dict[str, KeptContract])
    wall: WallTime = WallTime(0.0)  # now; and what members listed when the proxy began, with since when they list something else


def take_snapshot(
    plan: Plan, actors: Mapping[str, MemberActor], histories: Histories, senses: Senses, known: Known, now: Instant
) -> FleetSnapshot:
    """The fleet at this moment. What costs a look at the machine is asked only of members that fail."""
    ways = {one.name: one for one in plan.proxy.upstreams} if plan.proxy else {}
    members = tuple(_member(actor, histories, known, now, ways.get(actor.spec.route or name)) for name, actor in actors.items())
    return FleetSnapshot(
        at=now,
        members=_looked_up(members, actors, senses, known),
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
    verdict = overall(found)
    of_it = [history for history in found if history.verdict is verdict and history.latest is not None]
    telling = [history for history in of_it if history.proves] or of_it
    latest = max(telling, key=lambda history: history.began_at or 0.0, default=found[0])
    plainest = max(of_it, key=lambda history: history.proves, default=found[0])  # the first of those that prove
    speaker = plainest if verdict is Verdict.UNHEALTHY else latest
    told = max((one for one in found if one.told_at is not None), key=lambda one: one.told_at or 0.0, default=speaker)
    ails, rate = any(history.failing for history in found), max(one.rate if one.flapping else 0.0 for one in found)
    aside = beside_the_point(found, speaker) or (vantage == "route" and broken_bytes(speaker.latest))
    return replace(_observation(speaker), verdict=verdict, ails=ails, rate=rate, told=told.told, told_at=told.told_at, aside=aside)


def observe_call(histories: Histories, subject: str, route: str | None = None) -> Observation | None:
    """The latest direct probe that called a tool, or would have if one may be called; by a check that fails through its `route`,
    where that is one that asks both: the call of another tool is no answer to it.
    """
    deep = [(key, history) for key, history in histories.of(subject, "direct") if history.deep and history.latest is not None]
    failing = {key.check for key, history in histories.of(route or "", "route") if history.failing}
    same = [history for key, history in deep if key.check in failing]
    latest = max(same or [history for _, history in deep], key=lambda history: history.began_at or 0.0, default=None)
    return _observation(latest) if latest is not None else None


def _observation(history: CheckHistory) -> Observation:
    return Observation(
        verdict=history.verdict,
        result=history.latest,
        failures=history.streaks.failures,
        at=history.at,
        since=history.since,
        onset=history.onset,
        began_at=history.began_at,
        generation=history.generation,
        proxy_generation=history.proxy_generation,
        deep=history.deep,
        succeeded=history.succeeded,
        earlier=history.earlier,
        brief=history.brief,
        spells=history.spells,
        unbroken=bool(history.recent) and not any(history.recent),
        bare_since=history.bare_since,
        formerly=history.success_target if history.target != history.success_target else "",
    )


def _member(actor: MemberActor, histories: Histories, known: Known, now: Instant, way: UpstreamSpec | None) -> MemberSnapshot:
    spec, state, relisted = actor.spec, actor.state, known.relisted.get(actor.spec.name)
    kept = (UNKILLABLE, f"it is to stop, but {actor.cannot_stop}") if actor.cannot_stop else actor.hindered
    given_up = state.phase is Phase.STOPPING and state.then in ("again", "park")
    return MemberSnapshot(
        name=spec.name,
        kind=spec.kind,
        runtime=spec.runtime,
        want=state.want,
        phase=state.phase,
        started_at=actor.started_at if not spec.carried.watched else None,
        direct=observe(histories, spec.name, "direct") if actor.reachable else None,
        direct_call=observe_call(histories, spec.name, spec.route) if actor.reachable else None,
        route=spec.route,
        through=observe(histories, spec.route, "route") if spec.route else None,
        last_exit=actor.reason if given_up else actor.last_exit,
        oom=actor.oom,
        depends_on=spec.depends_on,
        failures=state.failures,
        foreign_port=actor.port_holder,
        planned=actor.planned,
        given_up=given_up,
        planned_why=actor.planned_why,
        paused=actor.paused,
        hindered=kept[0],
        hindrance=kept[1],
        start_grace=spec.start_grace,
        changed_at=actor.changed_at if not spec.carried.watched else None,
        port=own_port(spec),
        asked_at=urlsplit(spec.direct.url).netloc if spec.direct is not None else "",
        proxy_url=_proxy_url(actor, way.url if way is not None else ""),
        proxy_wire=way.wire_by_path if way is not None and way.url and known.traits.wire_by_path else "",
        child_gone=spec.name in known.gone,
        alone=known.alone.get(spec.name, ""),
        childless=spec.name in known.childless,
        budget_at=_budget(actor, now),
        listed_before=relisted.contract if relisted is not None else "",
        relisted_at=Instant(now - (known.wall - relisted.at)) if relisted is not None else None,
        picked=relisted is not None and way is not None and way.picks_tools,
    )


def _looked_up(
    members: tuple[MemberSnapshot, ...], actors: Mapping[str, MemberActor], senses: Senses, known: Known
) -> tuple[MemberSnapshot, ...]:
    """With what only the machine can tell, of what fails and what that needs: stopped processes, ports, living children."""
    mains: dict[str, tuple[int, str]] = {}  # pid and container
    within = any(_fails(member) for member in members if inside(member))
    needed = {name for member in members if _fails(member) for name in member.depends_on}
    for member in members:
        living = actors[member.name].incarnation
        failing = member.name in known.frozen or member.name in needed or _fails(member)
        failing = failing or (within and member.kind == "proxy")  # what runs inside the proxy is of its tree
        if failing and living is not None and living.pid is not None:
            mains[member.name] = living.pid, living.container or ""
    stopped = senses.stopped(frozenset(pid for pid, _ in mains.values()))
    made: list[MemberSnapshot] = []
    members = tuple(_with_holder(_with_calls(member, senses) if known.traits.nudges else member, senses) for member in members)
    proxy = next((member.name for member in members if member.kind == "proxy"), "")
    servers = {one.name for one in members if one.kind != "proxy"}
    front = next((mains[member.name][0] for member in members if member.kind == "proxy" and member.name in mains), 0)
    for told in members:
        member = _with_words(told, actors[told.name].spec, senses, proxy) if _silenced(told) else told
        if member.name not in mains:
            member = _with_server(member, actors[member.name].spec, senses, servers)
            made.append(replace(member, child_runs=True) if _starts_inside(member, front, senses) else member)
            continue
        main = mains[member.name]
        made.append(_with_machine(member, main[0] in stopped, main, senses, member.name in known.parents))
    return tuple(made)


def _with_holder(member: MemberSnapshot, senses: Senses) -> MemberSnapshot:
    """With who holds the port of one that ended because it could not have that."""
    if member.port is None or member.foreign_port or not member.down or not port_refused(member.last_exit):
        return member
    return replace(member, foreign_port=senses.holds(member.port, member.name))


def _with_machine(member: MemberSnapshot, stopped: bool, main: tuple[int, str], senses: Senses, parent: bool) -> MemberSnapshot:
    """With what the machine says of its main process (its number and its container, or ""). `parent`: something ran below it."""
    pid, container = main
    symptom = member.direct.symptom if member.direct is not None else None
    lost = symptom in GONE_SYMPTOMS and member.port is not None
    ports, places = (senses.listening(pid), senses.places(pid)) if lost else ((), ())
    rival = senses.rival(pid, member.port) if member.port is not None else ""
    silent = member.direct is not None and bare(member.direct.result)
    child = (symptom is Symptom.NOT_MOUNTED or silent) and senses.runs(pid, container)
    silence = silent_since(member.own)
    full = senses.descriptors(pid) if member.own is not None and member.own.symptom in ASKED_SYMPTOMS else ""
    walled = senses.inside(pid, container) if container and symptom in GONE_SYMPTOMS else ()
    kept, why = senses.still(pid) if (stopped or _fails(member)) and not member.hindered else (member.hindered, member.hindrance)
    return replace(
        member,
        stopped_processes=stopped and not kept,
        hindered=kept,
        hindrance=why,
        listens_on=ports,
        listens_at=places,
        rival=rival,
        works=silence is not None and senses.works(pid, silence),
        cut_off=_unanswered(member.direct) and member.port is not None and senses.idle(pid, member.port),
        child_runs=child,
        child_ended=silent and not child and parent,
        descriptors=full if member.kind != "proxy" or full.endswith(f"(pid {pid})") else "",
        walled=walled,
    )


def _with_server(member: MemberSnapshot, spec: MemberSpec, senses: Senses, servers: AbstractSet[str]) -> MemberSnapshot:
    """With which member serves a url of this machine that fails."""
    place = urlsplit(spec.direct.url) if spec.direct is not None and spec.carried.watched else None
    if place is None or place.port is None or not (place.hostname or "").startswith(_LOOPBACK) or not _fails(member):
        return member
    found = senses.listener(place.port)
    return replace(member, served_by=found if found in servers else "")


def _with_calls(member: MemberSnapshot, senses: Senses) -> MemberSnapshot:
    """With what its clients wait for and get, of one that is silent."""
    silent = any(seen.bad and seen.symptom in HUNG_SYMPTOMS for seen in (member.own, member.through) if seen is not None)
    return replace(member, calls=senses.calls(member.route)) if silent and member.route else member


def _starts_inside(member: MemberSnapshot, proxy: int, senses: Senses) -> bool:
    """Whether the process of a server lives that the proxy runs inside itself and does not serve yet."""
    seen = member.through
    waited = proxy and inside(member) and seen is not None and seen.symptom is Symptom.NOT_MOUNTED and not seen.succeeded
    return bool(waited and senses.child(proxy, member.route or member.name, 0))


def _with_words(member: MemberSnapshot, spec: MemberSpec, senses: Senses, proxy: str) -> MemberSnapshot:
    """With what it wrote in its present run: what tells most, and what it serves where that is something else.

    A server inside a proxy that has no log of its own writes into that of the proxy.
    """
    lines = senses.words(member.name)
    if not lines and inside(member):
        return replace(member, proxy_words=telling(senses.words(proxy)))
    steps = urlsplit(spec.direct.url).path.split("/") if spec.direct is not None else []
    serves = () if member.carried.watched else all_served(lines)
    others = () if set(serves) & set(steps) else serves
    return replace(member, words=telling(lines), lines=lines, serves=others, unserved=unserved(lines))


def _silenced(member: MemberSnapshot) -> bool:
    """Whether a member, what it runs, or a server inside the proxy, is ill: only its own words tell why."""
    seen = member.through if inside(member) else member.own
    return seen is not None and seen.bad


def _unanswered(seen: Observation | None) -> bool:
    """Whether a connection was neither taken nor refused."""
    return seen is not None and seen.symptom is Symptom.TIMEOUT and seen.stage is Stage.CONNECT


def _fails(member: MemberSnapshot) -> bool:
    seen = [one for one in (member.direct, member.through) if one is not None]
    return any(one.bad or one.failures or one.rate for one in seen)


def _proxy_url(actor: MemberActor, theirs: str) -> str:
    """Where the proxy reaches it, when that is another place than where it is checked."""
    return elsewhere((actor.incarnation.direct if actor.incarnation is not None else None) or actor.spec.direct, theirs)


def _budget(actor: MemberActor, now: Instant) -> Instant | None:
    """When the restart budget of a member allows one more restart; `None`: now."""
    policy = actor.spec.restart
    recent = sorted(start for start in actor.state.starts if now - start < policy.period)
    if len(recent) < policy.intensity:
        return None
    return Instant((*recent, now)[len(recent) - policy.intensity] + policy.period)
