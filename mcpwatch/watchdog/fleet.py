"""The fleet: every member's actor, the probing, the repair, and the plan they serve. Implements `ports.Fleet`.

Owns the order of things: members before the proxy, the proxy before what it hosts, stop in reverse. It must not know file formats,
wires, or who listens to its facts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Literal

from mcpwatch.clock import Clock
from mcpwatch.model.errors import RuntimeFailed, UsageError
from mcpwatch.model.fact import PlanApplied, RouteChanged, Troubled
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Target, Vantage
from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Diagnosis, FleetView, SelfView
from mcpwatch.ports import Appeared, Exited, Gone, Incarnation, Prober, Publish, Runtime, Store, Traits
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.diagnose import Scene, diagnose
from mcpwatch.watchdog.ladder import Rung
from mcpwatch.watchdog.probing import Probing, Watched
from mcpwatch.watchdog.repair import Repair
from mcpwatch.watchdog.verdict import Key, Tally, worst
from mcpwatch.watchdog.views import member_view, route_verdict, route_view, scene_actor

GATE_MARGIN = 5.0
"""Seconds beyond its start grace that a member may keep others waiting."""

PROOF_PAUSE = 0.5
"""Seconds between tries while a repair is being proved."""

REGISTRY_PAUSE = 1.0
"""Seconds before a runtime whose watch broke is watched again."""


Carriers = Callable[[str], Runtime]
"""Gives the runtime of a name, made when first asked for."""

Guard = Callable[[Coroutine[Any, Any, Any], str], object]
"""Runs a named task whose failure is told and harms nobody."""

ROOM = "fleet"


class Fleet:
    """Everything supervised. Lives on one event loop; `guard` runs a task of the app that cannot take the watchdog down."""

    def __init__(self, carry: Carriers, prober: Prober, clock: Clock, publish: Publish, guard: Guard, memory: Store) -> None:
        self.actors: dict[str, MemberActor] = {}
        self.traits = Traits()
        self.daemon = SelfView(pid=0, version="", started_at=WallTime(0.0))
        self._carrier = carry
        self._runtimes: dict[str, Runtime] = {}
        self._memory = memory
        self._clock = clock
        self._publish = publish
        self._guard = guard
        self._plan = Plan()
        self._route_verdicts: dict[str, tuple[Verdict, WallTime]] = {}
        self._engine_gone = ""
        self._closing = False
        self._due = False
        self.probing = Probing(prober, clock, publish, self._spawn)
        self.probing.target_of = self._target
        self.probing.generation_of = self._generation
        self.probing.on_result = self._on_result
        self.repair = Repair(clock, publish, self._spawn, self._carry, self._prove)
        self.repair.recreates = self._recreates

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task of the fleet; after closing, nothing new begins."""
        if self._closing and not name.startswith("stop "):
            work.close()
            return
        self._guard(work, name)

    # What others may see and ask.

    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

    def view(self) -> FleetView:
        """The fleet as shown, now."""
        now, wall = self._clock.now(), self._clock.wall()
        diagnoses, tallies = self.repair.current, self.probing.tallies
        members = tuple(
            member_view(actor, tallies, actor.runtime.usage(actor.spec.name), diagnoses, now, wall)
            for actor in self.actors.values()
        )
        routes = tuple(
            route_view(
                route,
                self.actors.get(route.member),
                self._proxy(),
                tallies,
                diagnoses,
                self._route_verdicts.get(route.name, (None, None))[1],
            )
            for route in self._plan.routes
        )
        proxy = self._plan.proxy.member if self._plan.proxy else None
        return FleetView(wall, self.daemon, proxy, members, routes, diagnoses)

    def _proxy(self) -> MemberActor | None:
        return self.actors.get(self._plan.proxy.member) if self._plan.proxy else None

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None:
        """Hand a command to a member's mailbox. Raises `UsageError` for an unknown name."""
        actor = self.actors.get(member)
        if actor is None:
            raise UsageError(f"no member '{member}'; members: {', '.join(self.actors) or 'none'}")
        self.repair.forget(member)
        self._memory.remember(ROOM, f"down:{member}", "1" if verb == "stop" else None)
        at, why = self._clock.now(), "an operator asked"
        match verb:
            case "start":
                actor.tell(d.WantUp(at, why))
            case "stop":
                actor.tell(d.WantDown(at, why))
            case "restart":
                actor.tell(d.WantRestart(at, why))

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        """Run the checks of a member and its route at once; `(check, vantage, result)` each. Raises `UsageError`."""
        actor = self.actors.get(name)
        watched = self.probing.of_member(name) if actor else self.probing.of(name)
        if actor is None and not watched:
            raise UsageError(f"no member or route '{name}'; members: {', '.join(self.actors) or 'none'}")
        wanted = [w for w in watched if vantage in (None, w.key.vantage)]
        results = await asyncio.gather(*(self.probing.run(w) for w in wanted))
        return tuple((w.key.check, w.key.vantage, r) for w, r in zip(wanted, results, strict=True) if r is not None)

    # The plan.

    async def begin(self, plan: Plan) -> int:
        """Take the first plan: adopt what lives, start what is wanted, in order. Returns how many were adopted."""
        self._plan = plan
        found: dict[str, Incarnation] = {}
        for name in sorted({member.runtime for member in plan.members}):
            found |= await self._open(name, plan)
        for spec in plan.members:
            self._add(spec)
        self._rewatch()
        self.probing.schedule.start()
        held = {key.removeprefix("down:") for key in self._memory.recall(ROOM) if key.startswith("down:")}
        for spec in plan.members:
            self._begin_member(spec, found.get(spec.name), held=spec.name in held)
        return len(found)

    async def _open(self, name: str, plan: Plan) -> dict[str, Incarnation]:
        """Begin to use a runtime: find what of ours lives in it, and follow it."""
        runtime = self._runtimes[name] = self._carrier(name)
        living: dict[str, Incarnation] = {}
        try:
            specs = [member for member in plan.members if member.runtime == name]
            living = {found.member: found for found in await runtime.owned(specs)}
        except RuntimeFailed as error:
            self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {name}"))
        self._guard(self._follow(runtime), f"watch {name}")
        return living

    def _begin_member(self, spec: MemberSpec, living: Incarnation | None, *, held: bool) -> None:
        """Adopt a living member, start a wanted one, and keep down one that an operator stopped."""
        actor = self.actors[spec.name]
        if living is not None:
            actor.adopt(living)
            if held or not spec.want_up:
                actor.tell(d.WantDown(self._clock.now(), "an operator stopped it"))
            elif living.fingerprint and living.fingerprint != spec.fingerprint:
                actor.tell(d.WantRestart(self._clock.now(), "its configuration changed while nobody watched"))
        elif held:
            actor.reason = "an operator stopped it"
        elif spec.want_up:
            self._spawn(self._start_in_order(spec), f"order {spec.name}")

    async def apply(self, plan: Plan, diff: PlanDiff) -> None:
        """Change to a new plan, touching only the members it names. Publishes `PlanApplied`."""
        self._plan = plan
        for name in sorted({member.runtime for member in plan.members} - self._runtimes.keys()):
            await self._open(name, plan)
        moved = {name for name in diff.replace if (spec := plan.member(name)) and spec.runtime != self.actors[name].spec.runtime}
        for name in (*diff.remove, *moved):
            await self._remove(name)
        for name in (*diff.replace, *diff.retune):
            spec = plan.member(name)
            if spec is not None and name not in moved and name in self.actors:
                self.actors[name].spec = spec
        for name in (*diff.add, *moved):
            spec = plan.member(name)
            if spec is not None:
                self._add(spec)
        self._rewatch()
        for name in diff.replace:
            if name not in moved and name in self.actors:
                self.actors[name].tell(d.WantRestart(self._clock.now(), "its configuration changed"))
        for name in (*diff.add, *moved):
            spec = plan.member(name)
            if spec is not None and spec.want_up:
                self._spawn(self._start_in_order(spec), f"order {name}")
        text = f"configuration applied: {len(diff.add)} added, {len(diff.remove)} removed, {len(diff.replace)} replaced"
        self._publish(
            PlanApplied(
                at=self._clock.wall(), text=text, added=diff.add, removed=diff.remove, replaced=diff.replace, retuned=diff.retune
            )
        )
        self.look()

    async def stop(self) -> None:
        """Stop every member, the proxy first, then the others in reverse start order; returns when all are at rest."""
        self.repair.close()
        self._closing = True
        self.probing.schedule.stop()
        order = list(reversed(self.actors.values()))
        hosted = [actor for actor in order if actor.spec.runtime == "hosted"]
        others = [actor for actor in order if actor.spec.runtime != "hosted"]
        proxy = [actor for actor in others if actor.spec.kind == "proxy"]
        rest = [actor for actor in others if actor.spec.kind != "proxy"]
        for wave in (hosted, proxy, *_waves(rest)):
            for actor in wave:
                actor.tell(d.WantDown(self._clock.now(), "the watchdog stops"))
            await asyncio.gather(*(self._at_rest(actor) for actor in wave))
        self.close()

    def hurry(self) -> None:
        """Someone asked again to stop: kill what is still being stopped."""
        for actor in self.actors.values():
            if actor.state.phase is Phase.STOPPING:
                self._spawn(actor.force(), f"stop {actor.spec.name}")

    def close(self) -> None:
        """Let go of everything; members live on."""
        self._closing = True
        self.repair.close()
        self.probing.schedule.stop()
        for actor in self.actors.values():
            actor.close()

    async def _at_rest(self, actor: MemberActor) -> None:
        limit = actor.spec.stop_grace + 2 * d.STOP_MARGIN
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await actor.reached(Phase.STOPPED, Phase.FAILED)

    async def _remove(self, name: str) -> None:
        actor = self.actors[name]
        actor.tell(d.WantDown(self._clock.now(), "removed from the configuration"))
        await self._at_rest(actor)
        actor.close()
        del self.actors[name]
        self.repair.forget(name)

    def _add(self, spec: MemberSpec) -> None:
        actor = MemberActor(spec, self._runtimes[spec.runtime], self._clock, self._publish, self._spawn)
        actor.on_start = self._on_start
        actor.on_change = lambda _: self.look()
        kept = self._memory.recall(ROOM).get(f"generation:{spec.name}", "")
        if kept.isdecimal():
            actor.state = replace(actor.state, generation=int(kept))
        self.actors[spec.name] = actor

    async def _start_in_order(self, spec: MemberSpec) -> None:
        """Start a member once those it waits for are ready, failed, or out of grace. Never waits for ever."""
        waits = list(spec.depends_on)
        if spec.kind == "proxy" and not self.traits.mounts_late:
            waits += [member.name for member in self._plan.members if member.name != spec.name and member.runtime != "hosted"]
        for name in waits:
            other = self.actors.get(name)
            if other is None or (other.state.want is Want.DOWN and not other.spec.want_up):
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(other.spec.start_grace + GATE_MARGIN):
                    await other.reached(Phase.RUNNING, Phase.FAILED)
        actor = self.actors.get(spec.name)
        if actor is not None and actor.state.phase is Phase.STOPPED:
            actor.tell(d.WantUp(self._clock.now(), "the configuration wants it"))

    # What is heard.

    async def _follow(self, runtime: Runtime) -> None:
        """Hand what a runtime sees to the members, for ever."""
        while True:
            try:
                async for event in runtime.watch():
                    self._hear(runtime, event)
            except RuntimeFailed as error:
                self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {runtime.name}"))
            await asyncio.sleep(REGISTRY_PAUSE)

    def _hear(self, runtime: Runtime, event: Exited | Appeared | Gone) -> None:
        match event:
            case Exited():
                if (actor := self.actors.get(event.member)) is not None:
                    actor.exited(event)
            case Appeared():
                if (actor := self.actors.get(event.member)) is not None:
                    actor.appeared(event.pid, event.container)
            case Gone():
                self._hear_gone(runtime, event)

    def _hear_gone(self, runtime: Runtime, event: Gone) -> None:
        if runtime.name in ("docker", "swarm"):
            self._engine_gone = "" if event.back else event.detail or "away"
        words = f"runtime {runtime.name} is back" if event.back else f"runtime {runtime.name} is away: {event.detail}"
        self._publish(
            Troubled(
                at=self._clock.wall(),
                text=words,
                level="info" if event.back else "warning",
                subject=f"runtime {runtime.name}",
                cleared=event.back,
            )
        )
        if not event.back and runtime.supervision == "theirs":
            for actor in self.actors.values():
                if actor.runtime is runtime:
                    lost = d.Lost(self._clock.now(), f"its carrier is away: {event.detail}", generation=actor.state.generation)
                    actor.tell(lost)
        self.look()

    def _on_start(self, actor: MemberActor) -> None:
        """A new generation lives: its tallies begin again, and it must prove itself."""
        name, generation = actor.spec.name, actor.state.generation
        self._memory.remember(ROOM, f"generation:{name}", str(generation))
        self.probing.renew(name, generation)
        proof = self._proof(actor)
        if proof is None or actor.spec.runtime == "external":
            actor.tell(d.Judged(self._clock.now(), "nothing to prove", generation, Verdict.UNKNOWN, proven=True))
            self._probe_all(actor)
        else:
            self._spawn(self.probing.ready(proof), f"ready {name}")

    def _proof(self, actor: MemberActor) -> Watched | None:
        """The check that proves a start: the first direct one that speaks to the member, else the first through the proxy."""
        watched = self.probing.of_member(actor.spec.name)
        usable = [w for w in watched if w.check.kind != "refusal" and w.check.canary is None]
        direct = [w for w in usable if w.key.vantage == "direct"]
        routed = [w for w in usable if w.key.vantage == "route"]
        return next(iter(direct), None) or (next(iter(routed), None) if actor.spec.runtime == "hosted" else None)

    def _probe_all(self, actor: MemberActor) -> None:
        """Run all checks of a member once, so that its verdicts are known; of every route when it is the proxy."""
        if actor.spec.kind == "proxy":
            self._probe_routes()
        for watched in self.probing.of_member(actor.spec.name):
            if self.probing.tallies.get(watched.key, Tally()).verdict is Verdict.UNKNOWN:
                self._spawn(self._probe_soon(watched), f"soon {watched.name}")

    async def _probe_soon(self, watched: Watched) -> None:
        await self.probing.run(watched)

    def _on_result(self, watched: Watched, before: Tally, after: Tally) -> None:  # noqa: ARG002
        """A tally changed: the member's verdict, the route's, and the diagnosis follow."""
        actor = self.actors.get(watched.member)
        if actor is None:
            return
        hosted = actor.spec.runtime == "hosted"
        if watched.key.vantage == "direct" or hosted:
            subject = watched.key.subject
            verdict = worst(self.probing.verdicts(subject, watched.key.vantage))
            symptom = after.latest.symptom_text if after.latest else ""
            reason = f"{watched.key.check} {watched.key.vantage}: {symptom or 'ok'}"
            starting = actor.state.phase is Phase.STARTING
            actor.tell(d.Judged(self._clock.now(), reason, actor.state.generation, verdict, proven=not after.failing))
            if starting and actor.state.phase is Phase.RUNNING:
                self._probe_all(actor)
        self.look()

    def _probe_routes(self) -> None:
        """The proxy runs (again): look through it at every route."""
        for watched in (w for route in self._plan.routes for w in self.probing.of(route.name, "route")):
            self._spawn(self._probe_soon(watched), f"soon {watched.name}")

    def look(self) -> None:
        """Diagnose again, once, after what is happening now has happened."""
        if not self._due and not self._closing:
            self._due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._due = False
        if self._closing:
            return
        self._tell_routes()
        proxy = self._plan.proxy.member if self._plan.proxy else None
        scene = Scene(
            at=self._clock.now(),
            actors=tuple(scene_actor(actor, self.probing.tallies) for actor in self.actors.values()),
            proxy=proxy,
            holds_sessions=self.traits.holds_sessions,
            mounts_late=self.traits.mounts_late,
            lists_from_cache=self.traits.lists_from_cache,
            engine_gone=self._engine_gone,
        )
        self.repair.consider(diagnose(scene))

    def _tell_routes(self) -> None:
        """Every change of a route's verdict is a fact."""
        names = {route.name for route in self._plan.routes}
        self._route_verdicts = {name: held for name, held in self._route_verdicts.items() if name in names}
        for route in self._plan.routes:
            actor, wall = self.actors.get(route.member), self._clock.wall()
            verdict = route_verdict(route, actor, self._proxy(), self.probing.tallies)
            old, _ = self._route_verdicts.get(route.name, (Verdict.UNKNOWN, wall))
            if old is verdict:
                self._route_verdicts.setdefault(route.name, (verdict, wall))
                continue
            self._route_verdicts[route.name] = (verdict, wall)
            shown = route_view(route, actor, self._proxy(), self.probing.tallies, self.repair.current, wall)
            why = shown.message or shown.symptom or (actor.reason if actor else "")
            self._publish(
                RouteChanged(
                    at=wall,
                    text=f"route {route.name}: {old} -> {verdict}" + (f" ({why})" if why else ""),
                    level="warning" if verdict is Verdict.UNHEALTHY else "info",
                    route=route.name,
                    member=route.member,
                    old=str(old),
                    new=str(verdict),
                    reason=why,
                    symptom=shown.symptom,
                )
            )

    # What the probing and the repair ask.

    def _rewatch(self) -> None:
        """Schedule exactly the checks of the plan."""
        wanted = [
            Watched(Key(member.name, check.name, "direct"), check, member.name)
            for member in self._plan.members
            for check in member.checks
            if "direct" in check.vantages and (member.direct is not None or member.runtime in ("docker", "swarm"))
        ]
        wanted += [
            Watched(Key(route.name, check.name, "route"), check, route.member)
            for route in self._plan.routes
            for check in route.checks
            if "route" in check.vantages
        ]
        self.probing.watch(wanted)

    def _target(self, watched: Watched) -> Target | None:
        if watched.key.vantage == "route":
            proxy = self._proxy()
            if proxy is not None and proxy.state.phase is not Phase.RUNNING:
                return None
            route = next((route for route in self._plan.routes if route.name == watched.key.subject), None)
            return route.probe if route else None
        actor = self.actors.get(watched.member)
        if actor is None:
            return None
        found = actor.incarnation.direct if actor.incarnation else None
        return found or actor.spec.direct

    def _generation(self, member: str) -> int | None:
        actor = self.actors.get(member)
        if actor is None or self._closing or actor.state.phase not in (Phase.STARTING, Phase.RUNNING) or actor.incarnation is None:
            return None
        return actor.state.generation

    def _recreates(self, subject: str) -> bool:
        actor = self.actors.get(subject)
        return actor is not None and actor.spec.runtime in ("docker", "swarm")

    async def _carry(self, rung: Rung, diagnosis: Diagnosis) -> None:
        """Do a rung: a counted restart of the member (or of the proxy), and wait until it runs again."""
        subject = diagnosis.subject
        actor = self.actors.get(subject)
        if actor is None:
            return
        if rung == "recreate":
            actor.spec = replace(actor.spec)
        actor.tell(d.WantRestart(self._clock.now(), f"repair: {diagnosis.text}", counts=True))
        await actor.reached(Phase.RUNNING, Phase.FAILED)

    async def _prove(self, diagnosis: Diagnosis) -> bool:
        """Run the checks that the diagnosis was made from until all succeed. The caller bounds the wait."""
        names = {diagnosis.subject, *diagnosis.affects}
        watched = [w for name in names for w in (*self.probing.of_member(name), *self.probing.of(name))]
        pending = {w.name: w for w in watched if w.key.subject in names or w.member in names}
        while pending:
            for watched in tuple(pending.values()):
                await self.probing.run(watched)
                tally = self.probing.tallies.get(watched.key)
                if tally is None or (tally.latest is not None and not tally.failing and tally.verdict is not Verdict.UNKNOWN):
                    del pending[watched.name]
            actor = self.actors.get(diagnosis.subject)
            if actor is None or actor.state.phase in (Phase.FAILED, Phase.STOPPED):
                return False
            if pending:
                await asyncio.sleep(PROOF_PAUSE)
        return True


def _waves(actors: list[MemberActor]) -> list[list[MemberActor]]:
    """Members in stop order: those nobody remaining depends on go together, before what they depend on."""
    left, waves = list(actors), list[list[MemberActor]]()
    while left:
        needed = {name for actor in left for name in actor.spec.depends_on}
        wave = [actor for actor in left if actor.spec.name not in needed] or left
        waves.append(wave)
        left = [actor for actor in left if actor not in wave]
    return waves
