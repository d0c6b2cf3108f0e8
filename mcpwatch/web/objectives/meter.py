"""The fleet's meter: hears every probe, keeps the hours of each route, writes them to the store, and reads them back for reports.

Runs beside the fleet and asks nothing of it but its view and plan. A minute that was not written when the watchdog is killed is
unknown, not good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.fact import Diagnosed, Fact, MemberChanged, MemberExited, MemberStarted, ProbeFinished, RouteChanged, WatchGap
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Stage, StageTiming
from mcpwatch.ports import SupervisedFleet
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage, WholeHours, add, from_json, to_json
from mcpwatch.web.objectives.watch import EXIT, CheckObservation, RouteWatch, State

WRITE_EVERY = 60.0
"""Seconds between two writes of what was measured."""
RECENT = 40
"""Probe durations kept of each route, for its latency now."""
GRACE = 5.0
"""Seconds added to how long a probe's word is taken."""
EXIT_HOLD = 3600.0
"""Seconds for which a member that ended is taken as gone, until something answers."""
DEFAULT_INTERVAL = 3600.0
"""Seconds for which the word of a check with a cron rule is taken."""
_CONNECT = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.OPEN, Stage.ENDPOINT})
"""The stages until the stream of a route is there: what `connect_p95` measures."""
_STATES: dict[str, State] = {"success": "good", "degraded": "good", "failure": "bad"}


@dataclass(frozen=True, slots=True)
class Counted:
    """What the gateway tells of one route: counters since it began, and clients now."""

    calls: int
    errors: int
    clients: int


Counters = Callable[[], Awaitable[Mapping[str, Counted]]]
"""Asks the gateway; an empty mapping where it cannot be asked. Raises `McpwatchError` when it is away."""


class HourStore(Protocol):
    """Where hours are kept."""

    def measure(self, hour: int, subject: str, seconds: tuple[float, float, float], body: str) -> None:
        """Keep one hour of one route. Never blocks, never raises."""
        ...


@dataclass(slots=True)
class _Route:
    watch: RouteWatch
    hours: dict[int, Hour]
    recent: deque[float] = field(default_factory=lambda: deque[float](maxlen=RECENT))
    counted: Counted | None = None
    """What the gateway said last."""
    since: Counted | None = None
    """What it counted since this watchdog began, and its clients now."""
    member: str = ""


class ObjectiveMeter:
    """Measures one fleet. `announced` says whether a member is in maintenance; `stored` reads one hour back after a start."""

    def __init__(
        self,
        fleet: SupervisedFleet,
        store: HourStore,
        bus: Bus,
        clock: Clock,
        *,
        announced: Callable[[str], bool],
        counters: Counters,
        stored: Callable[[int], Awaitable[Mapping[str, str]]],
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._announced = announced
        self._counters = counters
        self._stored = stored
        self._routes: dict[str, _Route] = {}
        self._by_member: dict[str, list[str]] = {}
        self._whole = WholeHours(int(clock.wall() // HOUR))
        self._first: Counted | None = None
        """What to count from where nothing was read yet: 0 for a gateway that this watchdog started, else its first word."""
        bus.hook(self._hear)

    async def run(self) -> None:
        """Write what was measured once a minute, until cancelled; then once more."""
        try:
            while True:
                await self.read()
                await self.keep()
                await asyncio.sleep(WRITE_EVERY)
        finally:
            self.write()

    async def read(self) -> None:
        """Ask the gateway for its counters; one that is away is asked again later."""
        with contextlib.suppress(McpwatchError):
            self._count(await self._counters())

    async def keep(self) -> None:
        """Add what the store holds of hours that began before, then write."""
        for number in sorted(self._whole.behind):
            with contextlib.suppress(McpwatchError):
                stored = await self._stored(number)
                if number in self._whole.behind:  # a report asks for the same at the same time
                    self._add(number, stored)
                    self._whole.taken_up(number)
        self.write()

    def write(self) -> None:
        """Hand every hour that is whole to the store, and forget the hours that are over."""
        now, wall = self._clock.now(), self._clock.wall()
        known = {route.name: route.member for route in self._fleet.plan().routes}
        gone = self._gone()
        for name, route in self._routes.items():
            route.member = known.get(name, name)
            if route.member in gone and route.watch.ended:
                route.watch.look(CheckObservation(EXIT, "bad", EXIT_HOLD), now, wall, announced=self._announced(route.member))
            route.watch.pass_time(now, wall, announced=self._announced(route.member))
            for number, hour in route.hours.items():
                if number not in self._whole.behind:
                    self._store.measure(number, name, (hour.good, hour.bad, hour.announced), to_json(hour))
            self._whole.forget(route.hours, int(wall // HOUR))
        self._whole.turn(int(wall // HOUR))
        self._by_member.clear()

    def _gone(self) -> set[str]:
        """Members that ended, are wanted, and wait for their next start or get none: nobody probes them, and they are down."""
        if not any(route.watch.ended for route in self._routes.values()):
            return set()
        waits = (Phase.BACKOFF, Phase.FAILED)
        return {one.name for one in self._fleet.view().members if one.want is Want.UP and one.phase in waits}

    def live(self, names: Iterable[str] | None = None) -> dict[str, dict[int, Hour]]:
        """What is not over yet: the present hours of these routes (of all, by default), up to now."""
        now, wall, found = self._clock.now(), self._clock.wall(), dict[str, dict[int, Hour]]()
        for name in self._routes if names is None else names:
            if (route := self._routes.get(name)) is not None:
                route.watch.pass_time(now, wall, announced=self._announced(route.member or name))
                found[name] = dict(route.hours)
        return found

    def counted(self) -> dict[str, Counted]:
        """What the gateway counted of each route since this watchdog began; routes of which it says nothing are left out."""
        return {name: route.since for name, route in self._routes.items() if route.since is not None}

    def latency(self, route: str) -> tuple[float, float] | None:
        """Median and 95th percentile of the latest probes of a route, in seconds."""
        found = self._routes.get(route)
        if found is None or not found.recent:
            return None
        ranked = sorted(found.recent)
        return ranked[(len(ranked) - 1) // 2], ranked[max(0, -(-len(ranked) * 95 // 100) - 1)]

    def outage(self, route: str) -> Outage | None:
        """The outage that is going on."""
        found = self._routes.get(route)
        return found.watch.outage if found else None

    def _add(self, number: int, stored: Mapping[str, str]) -> None:
        for name, text in stored.items():
            hours, old = self._of(name).hours, from_json(text)
            add(old, self._whole.of(hours, number))
            hours[number] = old

    def _of(self, name: str) -> _Route:
        found = self._routes.get(name)
        if found is None:
            hours: dict[int, Hour] = {}
            found = self._routes[name] = _Route(RouteWatch(lambda number: self._whole.of(hours, number)), hours)
        return found

    def _hear(self, fact: Fact) -> None:
        match fact:
            case ProbeFinished():
                self._probed(fact)
            case RouteChanged() if fact.new == "unhealthy":
                self._of(fact.route).watch.told(fact.at, fact.symptom)
            case MemberStarted() if not fact.adopted and self._is_proxy(fact.member):
                self._first = Counted(0, 0, 0)
                for route in self._routes.values():
                    route.counted = None
            case MemberExited() if not fact.planned:
                self._exited(fact)
            case MemberChanged() if fact.field == "want" and fact.new == "down":
                self._asleep(fact.member)
            case Diagnosed() if not fact.cleared:
                for route in fact.affects:
                    self._of(route).watch.told(fact.at, fact.cause)
            case WatchGap() if fact.cause != "clock_step":
                for route in self._routes.values():
                    route.watch.blind(slept=True)
            case _:
                pass

    def _probed(self, fact: ProbeFinished) -> None:
        subject = fact.route if fact.vantage == "route" else self._bare(fact.member)
        if not subject or fact.outcome not in _STATES:
            return
        route, wall = self._of(subject), self._clock.wall()
        state = _STATES[fact.outcome]
        look = CheckObservation(fact.check, state, self._hold(fact))
        route.watch.look(look, self._clock.now(), wall, announced=self._announced(fact.member))
        if state == "good":
            route.recent.append(fact.result.seconds)
            if (connect := _connect(fact.result.timings)) is not None:
                self._whole.of(route.hours, int(wall // HOUR)).connected(connect)

    def _exited(self, fact: MemberExited) -> None:
        """A member that ended takes its routes with it from that moment on, whatever the latest probe said."""
        announced = self._announced(fact.member)
        for name in self._names(fact.member):
            look = CheckObservation(EXIT, "bad", EXIT_HOLD)
            self._of(name).watch.look(look, self._clock.now(), self._clock.wall(), announced=announced)

    def _asleep(self, member: str) -> None:
        """Somebody wants it down: that is no outage."""
        for name in (*self._names(member), member):
            if name in self._routes:
                watch = self._routes[name].watch
                watch.pass_time(self._clock.now(), self._clock.wall(), announced=self._announced(member))
                watch.blind()

    def _names(self, member: str) -> list[str]:
        """The routes of a member; emptied now and then, because plans change."""
        if not self._by_member:
            for route in self._fleet.plan().routes:
                self._by_member.setdefault(route.member, []).append(route.name)
        return self._by_member.get(member, [])

    def _bare(self, member: str) -> str:
        """The name under which a member without a route is measured; the proxy is measured by its routes."""
        return "" if self._names(member) or self._is_proxy(member) else member

    def _is_proxy(self, member: str) -> bool:
        proxy = self._fleet.plan().proxy
        return proxy is not None and proxy.member == member

    def _hold(self, fact: ProbeFinished) -> float:
        plan = self._fleet.plan()
        route = plan.route(fact.route) if fact.vantage == "route" else None
        member = plan.member(fact.member)
        checks = route.checks if route is not None else member.checks if member is not None else ()
        check = next((one for one in checks if one.name == fact.check), None)
        if check is None:
            return DEFAULT_INTERVAL
        return 2 * (check.interval or DEFAULT_INTERVAL) + check.timeout + GRACE

    def _count(self, counted: Mapping[str, Counted]) -> None:
        """Counters of the gateway only grow; one that went back began anew with a new gateway."""
        number = int(self._clock.wall() // HOUR)
        for name, route in self._routes.items():
            if not counted:  # the proxy does not count
                route.counted = route.since = None
            elif name not in counted and route.since is not None:  # its counters go on where they were when it is back
                route.since = replace(route.since, clients=0)
        for name, now in counted.items():
            route = self._of(name)
            old = route.counted or self._first or now
            hour = self._whole.of(route.hours, number)
            began = now.calls < old.calls or now.errors < old.errors
            calls, errors = (now.calls, now.errors) if began else (now.calls - old.calls, now.errors - old.errors)
            hour.calls, hour.errors = hour.calls + calls, hour.errors + errors
            hour.clients, hour.counted, route.counted = max(hour.clients, now.clients), True, now
            had = route.since or Counted(0, 0, 0)
            route.since = Counted(had.calls + calls, had.errors + errors, now.clients)


def _connect(timings: tuple[StageTiming, ...]) -> float | None:
    """Seconds until the stream was there; `None` when the probe made no connection of its own."""
    found = [timing.seconds for timing in timings if timing.stage in _CONNECT]
    return sum(found) if found else None
