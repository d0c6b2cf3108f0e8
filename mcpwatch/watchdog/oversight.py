"""Overseeing: what probes say becomes verdicts, routes' truth, diagnoses and repairs; the glue around the pure core.

Owns where each check looks and what a start must prove. It must not know how a member is carried, nor file formats or wires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from mcpwatch.clock import Clock
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Target
from mcpwatch.model.restart import exceeded
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import Diagnosis, RouteView
from mcpwatch.ports import LogHint, Prober, Publish, Traits
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor, Spawn
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.ladder import Rung
from mcpwatch.watchdog.probing import Probing, Watched
from mcpwatch.watchdog.repair import Repair
from mcpwatch.watchdog.routes import Routes
from mcpwatch.watchdog.scene import Actor, Said, Scene
from mcpwatch.watchdog.verdict import Key, Tally, renew, worst
from mcpwatch.watchdog.views import scene_actor

PROOF_PAUSE = 0.5
"""Seconds between tries while a repair is being proved."""
LOOK_DELAY = 0.05
"""Seconds between a change and the diagnosis, so that what falls together is seen together. Restarts do not wait for it."""


class Oversight:
    """Sees all members through their probes. `actors` is the fleet's own table, `plan` gives the plan in force."""

    def __init__(
        self,
        actors: dict[str, MemberActor],
        plan: Callable[[], Plan],
        prober: Prober,
        clock: Clock,
        publish: Publish,
        spawn: Spawn,
    ) -> None:
        self.traits = Traits()
        self.engine_gone = ""
        self.stopped: Callable[[frozenset[int]], frozenset[int]] = lambda _: frozenset()
        """Which of these main processes are stopped (state T); asked only of members that fail."""
        self._actors = actors
        self._plan = plan
        self._clock = clock
        self._publish = publish
        self._spawn = spawn
        self._said: dict[str, Said] = {}
        self._closed = False
        self._due = False
        self.probing = Probing(prober, clock, publish, spawn)
        self._routes = Routes(actors, self.probing.tallies, clock, publish)
        self.probing.target_of = self._target
        self.probing.generation_of = self._generation
        self.probing.on_result = self._on_result
        self.repair = Repair(clock, publish, spawn, self._carry, self._prove)
        self.repair.recreates = self._recreates

    def close(self) -> None:
        """Probe, diagnose and repair no more."""
        self._closed = True
        self.repair.close()
        self.probing.schedule.stop()

    def proxy(self) -> MemberActor | None:
        """The proxy's actor, if the fleet has one."""
        found = self._plan().proxy
        return self._actors.get(found.member) if found else None

    def route_views(self) -> tuple[RouteView, ...]:
        """Every route as shown, now."""
        return self._routes.views(self._plan().routes, self.proxy(), self.repair.current)

    def on_start(self, actor: MemberActor) -> None:
        """A new generation lives: its tallies begin again, and it must prove itself."""
        name, generation = actor.spec.name, actor.state.generation
        if actor.spec.kind == "proxy":
            self._said.clear()
            self._renew_routes()
        self.probing.renew(name, generation)
        proof = self._proof(actor)
        if proof is None or actor.spec.runtime == "external":
            actor.tell(d.Judged(self._clock.now(), "nothing to prove", generation, Verdict.UNKNOWN, proven=True))
            self._probe_all(actor)
        else:
            self._spawn(self.probing.ready(proof), f"ready {name}")

    def _forget_failures(self, watched: Iterable[Watched]) -> None:
        """What failed before the member was ready, its route above all, says nothing of it now."""
        tallies = self.probing.tallies
        for one in watched:
            if (tally := tallies.get(one.key)) is not None and tally.failing:
                tallies[one.key] = renew(tally, tally.generation)

    def _renew_routes(self) -> None:
        """A new run of the proxy: what was seen through the old one says nothing of this one."""
        tallies = self.probing.tallies
        for route in self._plan().routes:
            for watched in self.probing.of(route.name, "route"):
                if (tally := tallies.get(watched.key)) is not None:
                    tallies[watched.key] = renew(tally, tally.generation)

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

    def _on_result(self, watched: Watched, before: Tally, after: Tally) -> None:
        """A tally changed: the member's verdict, the route's, and the diagnosis follow."""
        actor = self._actors.get(watched.member)
        if actor is None:
            return
        hosted = actor.spec.runtime == "hosted"
        if watched.key.vantage == "route" and after.failing:
            self._look_behind(watched.member, after)
        if watched.key.vantage == "direct" or hosted:
            subject = watched.key.subject
            verdict = worst(self.probing.verdicts(subject, watched.key.vantage))
            symptom = after.latest.symptom_text if after.latest else ""
            reason = f"{watched.key.check} {watched.key.vantage}: {symptom or 'ok'}"
            starting = actor.state.phase is Phase.STARTING
            actor.tell(d.Judged(self._clock.now(), reason, actor.state.generation, verdict, proven=not after.failing))
            if starting and actor.state.phase is Phase.RUNNING:
                self._forget_failures(self.probing.of_member(watched.member))
                self._probe_all(actor)
        if not self._quiet(before, after):
            self.look()

    def _quiet(self, before: Tally, after: Tally) -> bool:
        """Whether a result is one more success like the last, in a fleet where nothing is wrong: there is nothing to diagnose."""
        if self.repair.current or after.failing or before.failing or before.verdict is not after.verdict:
            return False
        same = before.latest is not None and after.latest is not None and before.latest.symptom is after.latest.symptom
        return same and not self.probing.tallies.failing

    def _look_behind(self, member: str, failed: Tally) -> None:
        """A route fails: look at the member itself too, unless that was done since the trouble began."""
        for watched in self.probing.of(member, "direct"):
            tally = self.probing.tallies.get(watched.key, Tally())
            if watched.check.canary is None and (tally.at is None or failed.since is None or tally.at < failed.since):
                self._spawn(self._probe_soon(watched), f"soon {watched.name}")

    def _probe_routes(self) -> None:
        """The proxy runs (again): look through it at every route."""
        for watched in (w for route in self._plan().routes for w in self.probing.of(route.name, "route")):
            self._spawn(self._probe_soon(watched), f"soon {watched.name}")

    def hear(self, hint: LogHint) -> None:
        """The proxy's own log said something of a route (or, with `ready`, of all): look through it again, and at the cause."""
        if hint.member:
            self._said[hint.member] = Said(hint.member, hint.meaning, hint.text)
            for watched in self.probing.of(hint.member, "route"):
                self._spawn(self._probe_soon(watched), f"soon {watched.name}")
        elif hint.meaning == "ready":
            self._probe_routes()
        self.look()

    def look(self) -> None:
        """Diagnose again, once, after what is happening now has happened: a proxy and what it hosts fall within milliseconds."""
        if not self._due and not self._closed:
            self._due = True
            asyncio.get_running_loop().call_later(LOOK_DELAY, self._look)

    def _look(self) -> None:
        self._due = False
        if self._closed:
            return
        plan = self._plan()
        self._routes.tell(plan.routes, self.proxy(), self.repair.current)
        scene = Scene(
            at=self._clock.now(),
            actors=self._scene_actors(),
            proxy=plan.proxy.member if plan.proxy else None,
            holds_sessions=self.traits.holds_sessions,
            mounts_late=self.traits.mounts_late,
            lists_from_cache=self.traits.lists_from_cache,
            engine_gone=self.engine_gone,
            reconnects=self.traits.reconnects,
            proxy_said=tuple(self._said.values()),
        )
        self.repair.consider(tuple(self._within_budget(found) for found in diagnose(scene)))

    def _scene_actors(self) -> tuple[Actor, ...]:
        """Every member as `diagnose` sees it; whose processes are stopped is asked only of those that fail."""
        found = tuple(scene_actor(actor, self.probing.tallies) for actor in self._actors.values())
        pids = {
            actor.name: living.pid
            for actor in found
            if any(seen is not None and seen.bad for seen in (actor.direct, actor.through))
            and (living := self._actors[actor.name].incarnation) is not None
            and living.pid is not None
        }
        stopped = self.stopped(frozenset(pids.values()))
        return tuple(replace(actor, stopped_processes=True) if pids.get(actor.name) in stopped else actor for actor in found)

    def _within_budget(self, found: Diagnosis) -> Diagnosis:
        """A proxy that still serves the other routes is not parked for one of them: its repair waits until its budget allows it."""
        actor, now = self._actors.get(found.subject), self._clock.now()
        if actor is None or found.rung != "restart_proxy" or found.hold:
            return found
        policy = actor.spec.restart
        if not exceeded(policy, (*actor.state.starts, now), now):
            return found
        often = f"{policy.intensity} times in {policy.period:g}s"
        return replace(found, hold=f"it was restarted {often}; waiting, because it still serves")

    # What the probing and the repair ask.

    def rewatch(self) -> None:
        """Schedule exactly the checks of the plan."""
        wanted = [
            Watched(Key(member.name, check.name, "direct"), check, member.name)
            for member in self._plan().members
            for check in member.checks
            if "direct" in check.vantages and (member.direct is not None or member.runtime in ("docker", "swarm"))
        ]
        wanted += [
            Watched(Key(route.name, check.name, "route"), check, route.member)
            for route in self._plan().routes
            for check in route.checks
            if "route" in check.vantages
        ]
        self.probing.watch(wanted)

    def _target(self, watched: Watched) -> Target | None:
        if watched.key.vantage == "route":
            proxy = self.proxy()
            if proxy is not None and proxy.state.phase is not Phase.RUNNING:
                return None
            route = next((route for route in self._plan().routes if route.name == watched.key.subject), None)
            return route.probe if route else None
        actor = self._actors.get(watched.member)
        if actor is None:
            return None
        found = actor.incarnation.direct if actor.incarnation else None
        return found or actor.spec.direct

    def _generation(self, member: str) -> int | None:
        actor = self._actors.get(member)
        if actor is None or self._closed or actor.state.phase not in (Phase.STARTING, Phase.RUNNING) or actor.incarnation is None:
            return None
        return actor.state.generation

    def _recreates(self, subject: str) -> bool:
        actor = self._actors.get(subject)
        return actor is not None and actor.spec.runtime in ("docker", "swarm")

    async def _carry(self, rung: Rung, diagnosis: Diagnosis) -> None:
        """Do a rung: a counted restart of the member (or of the proxy), and wait until it runs again."""
        subject = diagnosis.subject
        actor = self._actors.get(subject)
        if actor is None:
            return
        if rung == "recreate":
            actor.spec = replace(actor.spec)
        actor.tell(d.WantRestart(self._clock.now(), f"repair: {diagnosis.text}", counts=True))
        await actor.reached(Phase.RUNNING, Phase.FAILED)

    def _superseded(self, diagnosis: Diagnosis) -> bool:
        """Whether its subject has another trouble by now, with a repair of its own: proving this one would only delay that."""
        others = (found for found in self.repair.current if found.subject == diagnosis.subject and found.cause != diagnosis.cause)
        return any(found.rung is not None and not found.hold for found in others)

    async def _prove(self, diagnosis: Diagnosis) -> bool:
        """Run the checks that the diagnosis was made from until all succeed. The caller bounds the wait."""
        watched = [w for name in (diagnosis.subject, *diagnosis.members) for w in self.probing.of_member(name)]
        watched += [w for name in diagnosis.affects for w in self.probing.of(name, "route")]
        pending = {w.name: w for w in watched}
        while pending:
            for watched in tuple(pending.values()):
                await self.probing.run(watched)
                tally = self.probing.tallies.get(watched.key)
                if tally is None or (tally.latest is not None and not tally.failing and tally.verdict is not Verdict.UNKNOWN):
                    del pending[watched.name]
            actor = self._actors.get(diagnosis.subject)
            if actor is None or actor.state.phase in (Phase.FAILED, Phase.STOPPED) or self._superseded(diagnosis):
                return False
            if pending:
                await asyncio.sleep(PROOF_PAUSE)
        return True
