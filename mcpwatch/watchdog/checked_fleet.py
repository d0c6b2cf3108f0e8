"""What is checked in a fleet, and against what: the checks of the plan on their schedule, aimed at what lives now.

Knows nothing of what a result means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import ProbeResult, Target
from mcpwatch.model.spec import CheckSpec, Plan, Traits
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Diagnosis
from mcpwatch.ports import ProbeRunner
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.behind import Behind
from mcpwatch.watchdog.beside import settled
from mcpwatch.watchdog.clients_served import meanwhile, unanswered
from mcpwatch.watchdog.contracts import Contracts, KeptContract
from mcpwatch.watchdog.evaluate import aimed, deepened, lists_from_cache
from mcpwatch.watchdog.history import CheckHistory, CheckKey
from mcpwatch.watchdog.mounting import Mounting
from mcpwatch.watchdog.own_words import echoed
from mcpwatch.watchdog.probing import Aim, ProbeListener, Probing, ScheduledCheck
from mcpwatch.watchdog.refusals import safe_call_told
from mcpwatch.watchdog.routes import Routes
from mcpwatch.watchdog.senses import Context
from mcpwatch.watchdog.single_client import ProbeDeaths, unserved
from mcpwatch.watchdog.snapshot import ProxyLogHint
from mcpwatch.watchdog.start_proof import StartProofs
from mcpwatch.watchdog.take_snapshot import observe

ROUTES_ASKED = 16
"""Routes through which a silent proxy is asked once more."""


@dataclass(frozen=True, slots=True)
class MonitorListener:
    """What the monitor asks of the fleet: `plan` and `diagnoses` in force; `changed` is called
    when there may be something to consider."""

    plan: Callable[[], Plan]
    diagnoses: Callable[[], tuple[Diagnosis, ...]]
    changed: Callable[[], None]


class CheckedFleet(ABC):
    """The checks of all members and routes. `actors` is the fleet's own table."""

    def __init__(
        self, actors: Mapping[str, MemberActor], prober: ProbeRunner, context: Context, contracts: Contracts, ears: MonitorListener
    ) -> None:
        self.traits = Traits()
        self._actors = actors
        self._clock = context.clock
        self._spawn = context.spawn
        self._senses = context.senses
        self._contracts = contracts
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
        judging = (self._excuse, self._refine, self._on_result)
        listener = ProbeListener(self._aim, self._proving, self._on_try, *judging, context.senses.notice)
        self.probing = Probing(prober, context, listener)
        self.starts = StartProofs(self.probing, self.proxy, context.senses, self._deaths, self._behind, self._hints)
        self._routes = Routes(actors, self.probing.histories, context.clock, context.publish)

    async def _excuse(self, scheduled: ScheduledCheck, result: ProbeResult, begun: Instant) -> ProbeResult:
        """A result as it is, or no failure where the proxy tells that clients were answered while a check waited in vain."""
        actor = self._actors.get(scheduled.member)
        route = actor.spec.route if actor is not None else None
        if not route or not self.traits.nudges or not unanswered(result):
            return result
        return meanwhile(result, await settled(self._senses, lambda: self._senses.calls(route)), begun)

    def _refine(self, scheduled: ScheduledCheck, result: ProbeResult, generation: int) -> ProbeResult:
        """A result as its contract, and what the member says itself, lets it be judged."""
        judged = self._contracts.refine(scheduled, safe_call_told(result), generation)
        histories = self.probing.histories.of(scheduled.member, "direct") if scheduled.key.vantage == "route" else ()
        return echoed(judged, (history for _, history in histories))

    @abstractmethod
    def _proving(self, member: str, generation: int) -> bool:
        """Whether this generation still has to prove its start."""

    @abstractmethod
    def _on_try(self, scheduled: ScheduledCheck) -> None:
        """A start was probed and is not proven."""

    @abstractmethod
    def _on_result(self, scheduled: ScheduledCheck, before: CheckHistory, after: CheckHistory) -> None:
        """A history changed."""

    def proxy(self) -> MemberActor | None:
        """The proxy's actor, if the fleet has one."""
        found = self._plan().proxy
        return self._actors.get(found.member) if found else None

    def _relisted(self, names: Iterable[str]) -> dict[str, KeptContract]:
        """What these members listed when a proxy that remembers lists began, as far as they list something else now."""
        proxy = self.proxy()
        if proxy is None or proxy.started_at is None or not self.traits.lists_from_cache:
            return {}
        began = WallTime(self._clock.wall() - (self._clock.now() - proxy.started_at))
        since = None if proxy.spec.carried.watched else began
        return {name: kept for name in names if (kept := self._contracts.relisted(name, since)) is not None}

    def soon(self) -> None:
        """Something happened: consider it."""
        if not self._closed:
            self._changed()

    def close(self) -> None:
        """Probe no more."""
        self._closed = True
        self.probing.schedule.stop()

    def rewatch(self) -> None:
        """Schedule exactly the checks of the plan."""
        self._deaths.keep({member.name: member.fingerprint for member in self._plan().members})
        self._behind.keep({member.name for member in self._plan().members})
        wanted = [
            ScheduledCheck(CheckKey(member.name, check.name, "direct"), check, member.name)
            for member in self._plan().members
            for check in member.checks
            if "direct" in check.vantages and (member.direct is not None or member.carried.engine)
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
        if target is None or scheduled.member in self.left_alone((scheduled.member,)):
            return None
        return Aim(target, self._check(scheduled, target), actor.state.generation, resumes=actor.resumes)

    def left_alone(self, members: Iterable[str]) -> dict[str, str]:
        """Which of these bear one client and are left to the proxy now, and why. One whose route fails is asked itself again:
        without that, nobody could tell whether it hangs or the proxy does not reach it.
        """
        known, seen = self._deaths.alone, self.probing.histories
        routes = {name: actor.spec.route for name in members if name in known and (actor := self._actors.get(name)) is not None}
        return {name: known[name] for name, route in routes.items() if not unserved(observe(seen, route or "", "route"))}

    def _check(self, scheduled: ScheduledCheck, target: Target) -> CheckSpec:
        """The check, deeper where what answers may list from a cache, or where lists were no answer to a route that failed."""
        if lists_from_cache(self.probing.history(scheduled).latest, target):
            self._deep.add(scheduled.member)
        return deepened(scheduled.check) if scheduled.member in self._deep else scheduled.check

    async def look(self, member: str, *, deep: bool = False, brief: bool = False) -> None:
        """Probe a member and its route now, side by side; `deep`: by calls too, from now on.

        `brief`: each with no more time than one needs that is well; of the proxy some of the routes that fail too.
        """
        if deep:
            self._deep.add(member)
        own = self.probing.of_member(member)
        plain = [one for one in own if one.check.canary is None or one.key.vantage == "route" or deep]
        wanted = plain if any(one.key.vantage == "direct" for one in plain) else list(own)
        wanted += [one for one in own if one not in wanted and self._ails(one)]  # what is doubted may be a canary alone
        proxy = self.proxy()
        wanted += self._failing_routes() if brief and proxy is not None and proxy.spec.name == member else []
        await self.probing.look(wanted, brief=brief)

    def _ails(self, scheduled: ScheduledCheck) -> bool:
        """Whether a check fails, or did so often that it takes more than one success to be well."""
        history = self.probing.history(scheduled)
        return history.failing or history.verdict is Verdict.UNHEALTHY

    def _failing_routes(self) -> list[ScheduledCheck]:
        """Checks of routes that fail, as many as are asked at once: one answer through a proxy is enough."""
        found = (one for route in self._plan().routes for one in self.probing.of(route.name, "route"))
        return [one for one in found if self.probing.history(one).failing][:ROUTES_ASKED]

    def _run_routes(self) -> None:
        """The proxy runs (again): look through it at every route."""
        for route in self._plan().routes:
            self._run(self.probing.of(route.name, "route"))

    def _run(self, checks: tuple[ScheduledCheck, ...] | list[ScheduledCheck]) -> None:
        for scheduled in checks:
            self._spawn(self._once(scheduled), f"soon {scheduled.name}")

    async def _once(self, scheduled: ScheduledCheck) -> None:
        await self.probing.run(scheduled)
