"""The figures of the fleet for a scrape: facts are counted as they come, and everything is rendered when it is asked for.

Facts arrive from the event loop by a bounded queue; counting and rendering happen in the threads of the server, so that a scrape
never delays a probe. Only reading the view is done in the loop. Knows no other room, and no library.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from mcpwatch.model.fact import Fact
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import FleetView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.metrics_recorder import MetricsRecorder
from mcpwatch.telemetry.readings import AlertsNow, PromisesNow, Readings
from mcpwatch.telemetry.spec import TelemetrySpec

QUEUE_SIZE = 65_536
"""Facts waiting to be counted; more are dropped and counted as such."""
SETTLE_AT = 1_000
"""Waiting facts at which they are counted without a scrape."""
VIEW_TIMEOUT = 2.0
"""Seconds a scrape waits for the event loop to give a view; then it serves the last one."""

Reader = Callable[[MetricsRecorder], None]
"""Puts values counted elsewhere (the shipper's) into a recorder; thread-safe on its own side."""


@dataclass(frozen=True, slots=True)
class ScrapeSnapshot:
    """What the event loop hands over for one scrape."""

    plan: Plan
    view: FleetView
    offered: int = 0
    """`FleetCollector.offered` at that moment: later facts may be about a later plan."""
    alerts: AlertsNow = AlertsNow()
    promises: PromisesNow = PromisesNow()


class FleetCollector:
    """What is counted of the fleet: facts in by `offer`, everything out by `text`."""

    def __init__(
        self,
        spec: TelemetrySpec,
        version: str,
        look: Callable[[], ScrapeSnapshot],
        readings: Readings,
        readers: Iterable[Reader] = (),
    ) -> None:
        self._spec = spec
        self._recorder = MetricsRecorder(version, readings.receivers, readings.clients)
        self._look = look
        self._readers = tuple(readers)
        self._facts: deque[Fact] = deque()
        self.many = asyncio.Event()
        """Set, in the event loop, when `SETTLE_AT` facts wait; `settle` clears the reason."""
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        self._counted = 0
        self.offered = 0
        self.dropped = 0

    def offer(self, fact: Fact) -> None:
        """Take a fact, in the event loop's thread; never blocks."""
        if len(self._facts) >= QUEUE_SIZE:
            self.dropped += 1
            return
        self._facts.append(fact)
        self.offered += 1
        if len(self._facts) >= SETTLE_AT:
            self.many.set()

    def retune(self, spec: TelemetrySpec) -> None:
        """Use the objectives of `spec` from the next scrape on."""
        self._spec = spec
        self._plan = None

    def settle(self, plan: Plan, offered: int) -> None:
        """Count what waits, so that the queue stays short without scrapes; both as they were at one moment in the loop."""
        with self._lock:
            self._drain(plan, offered)

    def text(self) -> str:
        """Everything about the fleet, now, in text format 0.0.4."""
        seen = self._look()
        with self._lock:
            began = time.thread_time()
            self._drain(seen.plan, seen.offered)
            self._recorder.show(seen.view, seen.alerts)
            show_promises(self._recorder, seen.promises)
            self._recorder.put(of.FACTS_DROPPED, (), seen.view.daemon.dropped_facts + self.dropped)
            for read in self._readers:
                read(self._recorder)
            text = self._recorder.text()
            self._recorder.put(of.SCRAPE, (), time.thread_time() - began)
        return text

    def _drain(self, plan: Plan, offered: int) -> None:
        if plan is not self._plan and offered >= self._counted:
            self._plan = plan
            self._recorder.adopt(plan, self._spec)
        while self._counted < offered:
            self._recorder.count(self._facts.popleft())
            self._counted += 1


class LoopReader:
    """Reads plan and view inside the event loop for a thread that waits, bounded; a stuck loop gives the last ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], ScrapeSnapshot]) -> None:
        self._loop = loop
        self._look = look
        self._last: ScrapeSnapshot | None = None

    def __call__(self) -> ScrapeSnapshot:
        """What is seen now, or what was seen last. Raises `TimeoutError` when the loop has never answered."""
        answer: Future[ScrapeSnapshot] = Future()

        def read() -> None:
            try:
                answer.set_result(self._look())
            except Exception as error:  # noqa: BLE001 - whatever it is, the waiting thread must hear of it
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(read)
            self._last = answer.result(VIEW_TIMEOUT)
        except (TimeoutError, RuntimeError):
            if self._last is None:
                raise TimeoutError from None
        return self._last


Rows = dict[tuple[str, ...], float]
GAUGES = (of.OBJECTIVE_TARGET, of.OBJECTIVE_MEASURED, of.OBJECTIVE_BUDGET, of.ROUTE_CLIENTS)


def show_promises(recorder: MetricsRecorder, now: PromisesNow) -> None:
    """Make the series of objectives those of `now`: what is unknown has none. Counters of a member that is gone went with it."""
    rows: dict[str, defaultdict[str, Rows]] = {family.name: defaultdict(Rows) for family in GAUGES}
    for one in now.objectives:
        key = (one.member, one.route, one.name)
        for family, value in (
            (of.OBJECTIVE_TARGET, one.target),
            (of.OBJECTIVE_MEASURED, one.measured),
            (of.OBJECTIVE_BUDGET, one.budget),
        ):
            if value is not None:
                rows[family.name][one.member][key] = value
    for calls in now.calls:
        rows[of.ROUTE_CLIENTS.name][calls.member][calls.member, calls.route] = calls.clients
        recorder.put_of(of.TOOL_CALLS, (calls.member, calls.route), calls.calls)
        recorder.put_of(of.TOOL_ERRORS, (calls.member, calls.route), calls.errors)
    for family in GAUGES:
        for member in recorder.members:
            recorder.replace(family, member, rows[family.name].get(member, {}))
