"""What every vantage sees of the fleet: which checks run, against what, what their results mean for members and routes.

Owns the probing, the proxy's traits and what its log said, and what a start must prove. Gives the snapshot that a diagnosis is made
from. It must not know how a member is carried, nor causes and repairs (it only says when there is something to consider).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import ProbeResult, Symptom, Target
from mcpwatch.model.spec import CheckSpec, Plan, Traits
from mcpwatch.model.text import plain
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Diagnosis, RouteView
from mcpwatch.ports import Exited, LogHint, Prober
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.behind import Behind
from mcpwatch.watchdog.contracts import Contracts
from mcpwatch.watchdog.evaluate import aimed, deepened, lists_from_cache, member_verdict
from mcpwatch.watchdog.history import CheckHistory, CheckKey
from mcpwatch.watchdog.mounting import Mounting
from mcpwatch.watchdog.probing import Aim, ProbeListener, Probing, ScheduledCheck
from mcpwatch.watchdog.refusals import refusal
from mcpwatch.watchdog.routes import Routes
from mcpwatch.watchdog.senses import Context
from mcpwatch.watchdog.single_client import ProbeDeaths
from mcpwatch.watchdog.snapshot import (
    ENGINES,
    GONE_SYMPTOMS,
    GREETED_STAGES,
    MUTE_SYMPTOMS,
    UNSAID_SYMPTOMS,
    FleetSnapshot,
    ProxyLogHint,
    proved,
)
from mcpwatch.watchdog.take_snapshot import Known, take_snapshot

STRUCK = 0.5
"""Seconds between a probe that was cut and the end of the member that are put down to one another."""
FLEET_HINTS = 200
"""Hints of the proxy's log that are kept."""


@dataclass(frozen=True, slots=True)
class MonitorListener:
    """What the monitor asks of the fleet: `plan` and `diagnoses` in force; `changed` is called
    when there may be something to consider."""

    plan: Callable[[], Plan]
    diagnoses: Callable[[], tuple[Diagnosis, ...]]
    changed: Callable[[], None]


class FleetMonitor:
    """Sees all members through their probes. `actors` is the fleet's own table."""

    def __init__(
        self, actors: Mapping[str, MemberActor], prober: Prober, context: Context, contracts: Contracts, ears: MonitorListener
    ) -> None:
        self.traits = Traits()
        self._actors = actors
        self._clock = context.clock
        self._spawn = context.spawn
        self._senses = context.senses
        self._plan = ears.plan
        self._changed = ears.changed
        self._diagnoses = ears.diagnoses
        self._engines_gone: dict[str, str] = {}
        self._hints: dict[str, ProxyLogHint] = {}
        self._mounting = Mounting()
        self._deep: set[str] = set()
        """Members that are asked by calls too, because what they list may come from a memory."""
        self._behind = Behind(context.senses)
        self._deaths = ProbeDeaths()
        self._closed = False
        listener = ProbeListener(self._aim, self._proving, self._on_try, contracts.refine, self._on_result, context.senses.notice)
        self.probing = Probing(prober, context, listener)
        self._routes = Routes(actors, self.probing.histories, context.clock, context.publish)

    # What others see and tell.

    def snapshot(self) -> FleetSnapshot:
        """The fleet at this moment."""
        plan = self._plan()
        behind, hints = self._behind, tuple(self._hints.values())
        known = Known(self.traits, self._engines_gone, hints, self._deaths.alone, behind.frozen, behind.gone, self._culprit())
        return take_snapshot(plan, self._actors, self.probing.histories, self._senses, known, self._clock.now())

    def clock_set(self, now: Instant, wall: WallTime) -> None:
        """The wall clock was set, and shows `wall`."""
        self.probing.clock_set()
        self._routes.clock_set(now, wall)

    def tell_routes(self) -> None:
        """Every change of a route's verdict is a fact."""
        self._routes.tell(self._plan().routes, self.proxy(), self._diagnoses())

    def route_views(self) -> tuple[RouteView, ...]:
        """Every route as shown, now."""
        return self._routes.views(self._plan().routes, self.proxy(), self._diagnoses())

    def proxy(self) -> MemberActor | None:
        """The proxy's actor, if the fleet has one."""
        found = self._plan().proxy
        return self._actors.get(found.member) if found else None

    def learn(self, traits: Traits) -> None:
        """This is how the proxy behaves, as far as is known now."""
        self.traits = traits

    def engine(self, runtime: str, gone: str) -> None:
        """The engine of a runtime is away, and why; the empty string: it is there."""
        self._engines_gone.pop(runtime, None)
        if gone:
            self._engines_gone[runtime] = gone

    def soon(self) -> None:
        """Something happened: consider it."""
        if not self._closed:
            self._changed()

    def hear(self, hint: LogHint, at: WallTime | None = None) -> None:
        """The proxy's own log said something of a route (or, with `ready`, of all): look through it again, and at the cause.

        `at`: when the line was stamped.
        """
        if hint.member or hint.meaning == "exhausted":
            self._hints[hint.member] = ProxyLogHint(hint.member, hint.meaning, plain(hint.text), self._clock.now())
            if len(self._hints) > FLEET_HINTS:
                self._hints.pop(next(iter(self._hints)))
            self._run(self.probing.of(hint.member, "route"))
            if hint.meaning == "mounting":
                living = proxy.incarnation if (proxy := self.proxy()) is not None else None
                self._mounting.heard(hint.member, at, living.started_at if living is not None else None)
        elif hint.meaning == "ready":
            self._mounting.ready()
            self._run_routes()
        self.soon()

    def _culprit(self) -> str:
        """The route of the server with which the whole proxy ended; empty when it was none, or is not known."""
        proxy = self.proxy()
        return self._mounting.culprit(runs=proxy is not None and proxy.state.phase in (Phase.STARTING, Phase.RUNNING))

    def close(self) -> None:
        """Probe no more."""
        self._closed = True
        self.probing.schedule.stop()

    # What is checked.

    def rewatch(self) -> None:
        """Schedule exactly the checks of the plan."""
        self._deaths.keep({member.name: member.fingerprint for member in self._plan().members})
        self._behind.keep({member.name for member in self._plan().members})
        wanted = [
            ScheduledCheck(CheckKey(member.name, check.name, "direct"), check, member.name)
            for member in self._plan().members
            for check in member.checks
            if "direct" in check.vantages and (member.direct is not None or member.runtime in ENGINES)
        ]
        wanted += [
            ScheduledCheck(CheckKey(route.name, check.name, "route"), check, route.member)
            for route in self._plan().routes
            for check in route.checks
            if "route" in check.vantages
        ]
        self.probing.watch(wanted)

    def _aim(self, scheduled: ScheduledCheck) -> Aim | None:
        """What a check is run against now; `None` while the member or the proxy is not there to be asked."""
        actor = self._actors.get(scheduled.member)
        if actor is None or self._closed or actor.incarnation is None:
            return None
        if actor.state.phase not in (Phase.STARTING, Phase.RUNNING):
            return None
        if scheduled.key.vantage == "route":
            proxy = self.proxy()
            if proxy is not None and proxy.state.phase is not Phase.RUNNING:
                return None
            route = self._plan().route(scheduled.key.subject)
            number, resumes = (proxy.state.generation, proxy.resumes) if proxy is not None else (0, 0)
            aim = (actor.state.generation, number, actor.resumes + resumes)
            return Aim(route.probe, scheduled.check, *aim) if route else None
        target = aimed(actor.incarnation.direct, actor.spec.direct)
        if target is None or scheduled.member in self._deaths.alone:
            return None
        return Aim(target, self._check(scheduled, target), actor.state.generation, resumes=actor.resumes)

    def _check(self, scheduled: ScheduledCheck, target: Target) -> CheckSpec:
        """The check, deeper where what answers may list from a cache, or where lists were no answer to a route that failed."""
        if lists_from_cache(self.probing.history(scheduled).latest, target):
            self._deep.add(scheduled.member)
        return deepened(scheduled.check) if scheduled.member in self._deep else scheduled.check

    async def look(self, member: str, *, deep: bool = False) -> None:
        """Probe a member and its route now, side by side; `deep`: by calls too, from now on."""
        if deep:
            self._deep.add(member)
        own = self.probing.of_member(member)
        plain = [one for one in own if one.check.canary is None or one.key.vantage == "route" or deep]
        await self.probing.look(plain if any(one.key.vantage == "direct" for one in plain) else own)

    # What starts prove.

    def on_start(self, actor: MemberActor) -> None:
        """A new generation lives: its histories begin again, and it must prove itself."""
        name, generation = actor.spec.name, actor.state.generation
        if actor.spec.kind == "proxy":
            self._hints.clear()
            self._mounting.begin()
            self._behind.renew()
        self.probing.renew(name, generation)
        self.renew(actor)
        proof = self._proof(actor)
        if proof is None or actor.spec.runtime == "external":
            actor.tell(d.Judged(self._clock.now(), "nothing to prove", generation, Verdict.UNKNOWN, proven=True))
            self._first_looks(actor)
        else:
            self._spawn(self.probing.ready(proof, generation), f"ready {name}")

    def renew(self, actor: MemberActor) -> None:
        """What was seen of a member that changed, or through a proxy that did, says nothing any more."""
        checks = list(self.probing.of(actor.spec.name, "direct"))
        if actor.spec.kind == "proxy":
            checks += [one for route in self._plan().routes for one in self.probing.of(route.name, "route")]
        elif not checks and actor.spec.route:
            checks += self.probing.of(actor.spec.route, "route")
        for scheduled in checks:
            self.probing.renew_check(scheduled)

    def sick(self, actor: MemberActor) -> bool:
        """Whether a start that was never proven runs and answers, so that what it says is the trouble and not the start."""
        latest = self._latest_proof(actor)
        if latest is None:
            return False
        if latest.stage in GREETED_STAGES or refusal(latest) is not None or latest.symptom not in UNSAID_SYMPTOMS:
            return True
        living = actor.incarnation
        if living is None or living.pid is None or latest.symptom not in GONE_SYMPTOMS:
            return False
        if living.container:
            return bool(self._senses.inside(living.pid, living.container))
        return actor.spec.runtime == "process" and bool(self._senses.listening(living.pid))

    def said(self, actor: MemberActor) -> str:
        """What the latest probe that could have proved a start was answered by one that is not silent; empty without one."""
        latest = self._latest_proof(actor)
        if latest is None or latest.symptom is None or (latest.symptom in MUTE_SYMPTOMS and latest.stage not in GREETED_STAGES):
            return ""
        return f"{latest.symptom_text}: {latest.message}".removesuffix(": ")

    def _latest_proof(self, actor: MemberActor) -> ProbeResult | None:
        """What the check that proves a start saw last."""
        proof = self._proof(actor)
        return self.probing.history(proof).latest if proof is not None else None

    def _proof(self, actor: MemberActor) -> ScheduledCheck | None:
        """The check that proves a start: the first direct one that speaks to the member, else the first through the proxy.

        A canary proves it where there is nothing else.
        """
        usable = [one for one in self.probing.of_member(actor.spec.name) if one.check.kind != "refusal"]
        usable.sort(key=lambda one: one.check.canary is not None)
        alone = actor.spec.name in self._deaths.alone
        direct = [one for one in usable if one.key.vantage == "direct" and not alone]
        routed = [one for one in usable if one.key.vantage == "route"]
        return next(iter(direct), None) or (next(iter(routed), None) if alone or actor.spec.runtime == "hosted" else None)

    def _proving(self, member: str, generation: int) -> bool:
        actor = self._actors.get(member)
        starting = actor is not None and actor.state.phase is Phase.STARTING and actor.state.generation == generation
        return starting and not self._closed

    def _on_try(self, scheduled: ScheduledCheck) -> None:
        """A start was probed and is not proven: after an end, what it answers may be a cause."""
        actor = self._actors.get(scheduled.member)
        if actor is not None and actor.state.failures:
            self.soon()

    def _first_looks(self, actor: MemberActor) -> None:
        """Run all checks of a member once, so that its verdicts are known; of every route when it is the proxy."""
        if actor.spec.kind == "proxy":
            self._run_routes()
        unknown = [one for one in self.probing.of_member(actor.spec.name) if self.probing.history(one).verdict is Verdict.UNKNOWN]
        self._run(unknown)

    # What results mean.

    def _on_result(self, scheduled: ScheduledCheck, before: CheckHistory, after: CheckHistory) -> None:
        """A history changed: the member's verdict, the route's, and the diagnosis follow."""
        actor = self._actors.get(scheduled.member)
        if actor is None:
            return
        own = scheduled.key.vantage == "direct" or actor.spec.runtime == "hosted" or scheduled.member in self._deaths.alone
        if scheduled.key.vantage == "route" and after.failing:
            self._look_behind(scheduled.member, after)
        if own:
            self._judge(actor, scheduled, after)
        if scheduled.key.vantage == "direct" and before.failing and not after.failing:
            self._recovered(actor)
        if self._hides(scheduled, after) or not self._quiet(before, after):
            self.soon()

    def _hides(self, scheduled: ScheduledCheck, after: CheckHistory) -> bool:
        """Look at the processes where a memory answered and nothing was asked that only the server behind it can answer. Whether
        any of the fleet are stopped or gone: then the kernel alone knows that something does not work."""
        actor, proxy = self._actors[scheduled.member], self.proxy()
        routed = scheduled.key.vantage == "route"
        remembers = self.traits.lists_from_cache if routed else scheduled.member in self._deep
        well = after.latest if not after.failing else None
        if routed and well is not None and proved(well):
            self._behind.answered(actor.spec.name)
        if well is not None and remembers and not proved(well):
            mains = {
                one.spec.name: one.incarnation.pid
                for one in (actor, proxy if routed else None)
                if one is not None and one.incarnation is not None and one.incarnation.pid is not None
            }
            inside = routed and proxy is not None and actor.spec.direct is None and actor.spec.name not in mains
            holder = mains.get(proxy.spec.name, 0) if inside and proxy is not None else 0
            self._spawn(self._ask_kernel(scheduled, mains, holder), f"look behind {scheduled.member}")
        return bool(self._behind.frozen or self._behind.gone)

    async def _ask_kernel(self, scheduled: ScheduledCheck, mains: Mapping[str, int], holder: int) -> None:
        """What runs below these main processes; `holder`: the proxy's, where the server runs inside that, else 0."""
        await self._behind.look_at(mains)
        if holder:
            await self._behind.look_inside(scheduled.member, scheduled.key.subject, holder)
        self._behind.keep(self._actors.keys())
        if self._behind.frozen or self._behind.gone:
            self.soon()

    def _judge(self, actor: MemberActor, scheduled: ScheduledCheck, after: CheckHistory) -> None:
        verdict = member_verdict(self.probing.histories, scheduled.key.subject, scheduled.key.vantage)
        symptom = after.latest.symptom_text if after.latest else ""
        reason = f"{scheduled.key.check} {scheduled.key.vantage}: {symptom or 'ok'}"
        starting = actor.state.phase is Phase.STARTING
        proven = not after.failing and (actor.lives or not starting or actor.spec.runtime != "process")
        actor.tell(d.Judged(self._clock.now(), reason, actor.state.generation, verdict, proven=proven))
        if starting and actor.state.phase is Phase.RUNNING:
            for one in self.probing.of_member(scheduled.member):  # what failed before it was ready says nothing of it now
                if self.probing.history(one).failing:
                    self.probing.renew_check(one)
            self._recovered(actor)
            self._first_looks(actor)

    def _recovered(self, actor: MemberActor) -> None:
        """A member is well (again): a proxy that waits before it tries again is told not to, and the route is looked at."""
        proxy = self.proxy()
        if proxy is not None and self._culprit() == actor.spec.route and proxy.state.phase in (Phase.FAILED, Phase.BACKOFF):
            proxy.tell(d.WantUp(self._clock.now(), f"'{actor.spec.name}' is well again, with which it could not start"))
        if actor.spec.route and actor.spec.runtime != "hosted" and self.traits.nudges:
            self._spawn(self._reconnect(actor.spec.route), f"reconnect {actor.spec.route}")
        elif actor.spec.route:
            self._run(self.probing.of(actor.spec.route, "route"))

    async def _reconnect(self, route: str) -> None:
        proxy = self.proxy()
        if proxy is None or proxy.state.phase is not Phase.RUNNING:
            return
        with contextlib.suppress(RuntimeFailed):  # then it tries again by itself
            await self._senses.nudge((route,))
        await self.probing.look(self.probing.of(route, "route"))

    def _quiet(self, before: CheckHistory, after: CheckHistory) -> bool:
        """Whether a result is one more success like the last, in a fleet where nothing is wrong: there is nothing to diagnose."""
        if self._diagnoses() or after.failing or before.failing or before.verdict is not after.verdict:
            return False
        return before.symptom is after.symptom and not self.probing.histories.failing

    def _look_behind(self, member: str, failed: CheckHistory) -> None:
        """A route fails: look at the member itself too, unless that was done since the trouble began."""
        for scheduled in self.probing.of(member, "direct"):
            history = self.probing.history(scheduled)
            if scheduled.check.canary is None and (
                history.began_at is None or failed.since is None or history.began_at < failed.since
            ):
                self._run((scheduled,))

    def _run_routes(self) -> None:
        """The proxy runs (again): look through it at every route."""
        for route in self._plan().routes:
            self._run(self.probing.of(route.name, "route"))

    def _run(self, checks: tuple[ScheduledCheck, ...] | list[ScheduledCheck]) -> None:
        for scheduled in checks:
            self._spawn(self._once(scheduled), f"soon {scheduled.name}")

    async def _once(self, scheduled: ScheduledCheck) -> None:
        await self.probing.run(scheduled)

    def ended(self, event: Exited, tail: tuple[str, ...]) -> None:
        """An incarnation ended: count it when it was being probed just then."""
        actor = self._actors.get(event.member)
        if actor is None or actor.state.phase is not Phase.RUNNING or event.generation != actor.state.generation:
            return
        by_itself = bool(event.code) and event.signal is None
        behind = actor.spec.route is not None and self.proxy() is not None
        probed = by_itself and behind and any(self._struck(one) for one in self.probing.of(event.member, "direct"))
        self._deaths.ended(event.member, tail[-1].strip() if tail else event.detail, probed=probed)

    def _struck(self, scheduled: ScheduledCheck) -> bool:
        """Whether a check runs at this moment, or was cut just now."""
        history = self.probing.history(scheduled)
        cut = history.symptom is Symptom.CUT and history.at is not None and self._clock.now() - history.at < STRUCK
        return self.probing.running(scheduled) or cut
