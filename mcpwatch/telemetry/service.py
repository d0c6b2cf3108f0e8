"""The room as the daemon sees it: takes the fleet and the bus, serves metrics, ships logs and facts, sends traces.

Trouble here is told as a fact and never reaches the fleet: a port that is taken is tried again, a Loki that is away is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.fact import Fact, Level, Troubled
from mcpwatch.ports import SupervisedFleet
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.fleet_collector import FleetCollector, LoopReader, ScrapeSnapshot
from mcpwatch.telemetry.logs import Logging, log_fact
from mcpwatch.telemetry.metrics_recorder import MetricsRecorder
from mcpwatch.telemetry.otel import Tracer
from mcpwatch.telemetry.readings import Readings, Shipping
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.shipper import Shipper
from mcpwatch.telemetry.spec import LokiSpec, MetricsSpec, TelemetrySpec
from mcpwatch.telemetry.spool import OwnSpool

if TYPE_CHECKING:  # with it come requests and the library; a daemon that ships nothing does without
    from mcpwatch.telemetry.loki import SpoolHandler

REBIND_EVERY = 5.0
"""Seconds until a metrics port that was taken is tried again."""
STOP_TIMEOUT = 5.0
"""Seconds that the whole room takes at most to stop."""
FACT_QUEUE = 10_000
"""Facts waiting to be written to the spool; the oldest are dropped and counted."""
FACT_BATCH = 500


@dataclass(frozen=True, slots=True)
class TelemetryContext:
    """What the daemon gives the room."""

    fleet: SupervisedFleet
    bus: Bus
    clock: Clock
    state_dir: Path
    version: str
    logs: Logging | None = None
    """The log as set up by `logs.configure`; records go to Loki only with it."""
    readings: Readings = Readings()


def load_library(spec: TelemetrySpec) -> None:
    """Load what is configured, not in the loop: what ships logs takes 0.1 s of processor, what serves metrics half of it."""
    for wanted, module in ((spec.loki, "loki"), (spec.metrics, "metrics")):
        if wanted is not None:
            importlib.import_module(f"mcpwatch.telemetry.{module}")


class Telemetry:
    """Runs until cancelled. Make it in the loop, before the fleet starts, so that no fact is missed."""

    def __init__(self, house: TelemetryContext, spec: TelemetrySpec) -> None:
        self._house = house
        self._spec = spec
        self._loop = asyncio.get_running_loop()
        self._redact = house.logs.redact if house.logs else Redactor(house.fleet.plan().secrets)
        self._tracer: Tracer | None = None
        self._shipper: Shipper | None = None
        self._spool: OwnSpool | None = None
        self._collector = FleetCollector(spec, house.version, LoopReader(self._loop, self._see), house.readings, [self._read])
        self._changed = asyncio.Event()
        self._handler: SpoolHandler | None = None
        self._facts = house.bus.subscribe(size=FACT_QUEUE)
        self._unwritten: list[Fact] = []
        self._open = True
        self.port = 0
        """Where metrics are served, once `serving` is set."""
        self.serving = asyncio.Event()
        house.bus.hook(self._hear)

    async def begin(self) -> None:
        """Load in a thread what is configured, then `run`."""
        await asyncio.to_thread(load_library, self._spec)
        await self.run()

    async def run(self) -> None:
        """Serve until cancelled; stops within `STOP_TIMEOUT`."""
        if self._facts.closed:  # started again after a failure
            self._facts, self._open = self._house.bus.subscribe(size=FACT_QUEUE), True
        self._start_shipping(self._spec.loki)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(tasks, TelemetrySpec.model_construct(loki=self._spec.loki)))
                tasks.create_task(self._settle())
                tasks.create_task(self._keep_facts())
        finally:
            self._open = False
            self._facts.close()
            self._unwritten += [fact async for fact in self._facts]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._stop), STOP_TIMEOUT)

    def retune(self, spec: TelemetrySpec) -> None:
        """Take a new plan's spec: objectives at once, and what serves, ships or traces anew where its part changed."""
        self._collector.retune(spec)
        self._redact.use(self._house.fleet.plan().secrets)
        self._spec = spec
        self._changed.set()

    @property
    def shipping(self) -> Shipping | None:
        """How log shipping goes; `None` where there is none."""
        return self._shipper.shipping if self._shipper else None

    def wake(self) -> None:
        """A member's log has new lines."""
        if self._shipper:
            self._shipper.wake()

    async def _follow(self, tasks: asyncio.TaskGroup, had: TelemetrySpec) -> None:
        """Make what the spec asks for beside what we `had`, and make it anew whenever it asks for something else."""
        serving: asyncio.Task[None] | None = None
        while True:
            spec = self._spec
            if spec.loki != had.loki:
                await asyncio.to_thread(self._stop_shipping)
                self._start_shipping(spec.loki)
            if spec.otel != had.otel:
                self._start_tracing(spec)
            if spec.metrics != had.metrics:
                if serving is not None:
                    serving.cancel()
                    await asyncio.wait([serving])
                serving = tasks.create_task(self._serve(spec.metrics)) if spec.metrics else None
            had = spec
            await self._changed.wait()
            self._changed.clear()

    # facts

    def _hear(self, fact: Fact) -> None:
        """Inside every publish: only puts the fact where a thread will find it."""
        if not self._open:
            return
        self._collector.offer(fact)
        if self._tracer:
            self._tracer.offer(fact)
        if self._house.logs:
            log_fact(fact)

    async def _keep_facts(self) -> None:
        """Write facts to the spool in batches, in a thread, in their order."""
        async for fact in self._facts:
            self._unwritten.append(fact)
            if self._facts.waiting and len(self._unwritten) < FACT_BATCH:
                continue
            batch, self._unwritten = self._unwritten, []
            if self._spool is not None:
                await asyncio.to_thread(_write_facts, self._spool, self._redact, batch)

    # metrics

    def _see(self) -> ScrapeSnapshot:
        fleet, readings = self._house.fleet, self._house.readings
        return ScrapeSnapshot(fleet.plan(), fleet.view(), self._collector.offered, readings.alerts(), readings.promises())

    def _read(self, recorder: MetricsRecorder) -> None:
        if self._shipper:
            recorder.ship(self._shipper.shipping)
        if self._house.logs:
            recorder.put(of.LOG_DROPPED, (), self._house.logs.dropped)

    async def _settle(self) -> None:
        """Count facts when many wait: there are no scrapes, or few."""
        while True:
            await self._collector.many.wait()
            self._collector.many.clear()
            await asyncio.to_thread(self._collector.settle, self._house.fleet.plan(), self._collector.offered)

    async def _serve(self, spec: MetricsSpec) -> None:
        from mcpwatch.telemetry.metrics import MetricsServer

        told = False
        while True:
            try:
                server = MetricsServer(spec, self._collector)
                break
            except OSError as error:
                if not told:
                    self._tell("metrics", f"metrics cannot be served on {spec.listen}: {error.strerror or error}; trying again")
                told = True
            await asyncio.sleep(REBIND_EVERY)
        self.port = server.port
        self.serving.set()
        if told:
            self._tell("metrics", f"metrics are served on {spec.listen}", cleared=True)
        try:
            await asyncio.Event().wait()
        finally:
            self.serving.clear()
            await asyncio.shield(asyncio.to_thread(server.close))

    # logs

    def _start_shipping(self, loki: LokiSpec | None) -> None:
        if loki is None:
            return
        from mcpwatch.telemetry.loki import faults

        for text in faults(loki):
            self._tell("loki", f"telemetry.{text}")
        try:
            self._shipper = self._new_shipper(loki)
        except OSError as error:
            self._tell("loki", f"logs are not shipped: {error.filename}: {error.strerror}")
            return
        self._shipper.start()

    def _stop_shipping(self) -> None:
        if self._house.logs and self._handler:
            self._house.logs.remove(self._handler)
        if self._shipper:
            self._shipper.stop()
        if self._spool:
            self._spool.close()
        self._shipper = self._spool = self._handler = None

    def _start_tracing(self, spec: TelemetrySpec) -> None:
        old, self._tracer = self._tracer, None
        if old is not None:
            self._loop.run_in_executor(None, old.close)
        if spec.otel is None:
            return
        try:
            self._tracer = Tracer(spec.otel, self._house.version)
        except ConfigError as error:
            self._tell("otel", str(error))

    def _new_shipper(self, loki: LokiSpec) -> Shipper:
        from mcpwatch.telemetry.loki import Push, SpoolHandler

        state, wall = self._house.state_dir, self._house.clock.wall
        spool = self._spool = OwnSpool(state, wall)
        if self._house.logs:
            self._handler = SpoolHandler(spool, loki.url, self._redact)
            self._house.logs.add(self._handler)
        tell = self._later(self._tell_loki)
        return Shipper(loki, Push(loki), state, spool, wall=wall, redact=self._redact, on_error=tell)

    def _later(self, call: Callable[[str], None]) -> Callable[[str], None]:
        """`call`, to be called from any thread and run in the loop."""

        def hand_over(text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: there is nothing left to notify
                self._loop.call_soon_threadsafe(call, text)

        return hand_over

    def _tell_loki(self, text: str) -> None:
        self._tell("loki", text or "Loki takes logs again", level="warning", cleared=not text)

    def _tell(self, subject: str, text: str, *, level: Level = "error", cleared: bool = False) -> None:
        if self._open:
            level = "info" if cleared else level
            self._house.bus.publish(Troubled(at=self._house.clock.wall(), text=text, level=level, subject=subject, cleared=cleared))

    def _stop(self) -> None:
        """In a thread: end what has threads of its own, each within its own bound."""
        if self._spool:
            _write_facts(self._spool, self._redact, self._unwritten)
        self._stop_shipping()
        if self._tracer:
            self._tracer.close()


def _write_facts(spool: OwnSpool, redact: Redactor, facts: Iterable[Fact]) -> None:
    for fact in facts:
        labels = fact.labels()
        member = labels.pop("member", "mcpwatch")
        metadata = {"fact": fact.name, "level": fact.level, **labels}
        symptom = getattr(getattr(fact, "result", None), "symptom_text", "")
        if symptom:
            metadata["symptom"] = symptom
        spool.append(member, "facts", redact(fact.text), metadata)
