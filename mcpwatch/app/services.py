"""The services beside the fleet: alerts, clients, telemetry, the log collector and the self-watch, built from a plan.

Each is a service with `run`; none can hurt the fleet. A new service of this kind is a few lines here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mcpwatch import __version__
from mcpwatch.alerts.service import Alerts
from mcpwatch.app.backup.schedule import BackupSpec, ScheduledBackup
from mcpwatch.app.hang import heartbeat, notify
from mcpwatch.app.own_trouble import Troubles
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.standing import readings
from mcpwatch.app.supervise import Run, ServiceSupervisor
from mcpwatch.bus import Bus
from mcpwatch.clients.api import ClientsApi
from mcpwatch.clients.rotate import Reload, Rotator
from mcpwatch.clients.service import ClientsService
from mcpwatch.clock import Clock
from mcpwatch.model.fact import WatchGap
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime
from mcpwatch.ports import Store
from mcpwatch.runtimes.admin import AdminSocket
from mcpwatch.runtimes.clock_gap import Gap
from mcpwatch.runtimes.descriptors import limit, open_streams
from mcpwatch.runtimes.log_collector import LogCollector
from mcpwatch.runtimes.log_stamper import limits_of
from mcpwatch.runtimes.self_watch import SelfWatch
from mcpwatch.telemetry.logs import Logging
from mcpwatch.telemetry.readings import PromisesNow
from mcpwatch.telemetry.service import Telemetry, TelemetryContext
from mcpwatch.telemetry.spec import TelemetrySpec
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.web.api.catalog import Handler

if TYPE_CHECKING:
    from mcpwatch.app.backup.create import BackupSource

RECYCLE_EVERY = 5.0
"""Seconds between looks at the memory of members that have a limit."""
FIGURES_EVERY = 5
"""Ticks after which the watchdog's own figures are brought up to date; a service that goes down is shown at the next tick."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the daemon gives its services. `on_tick` is called every two seconds by the loop: it turns."""

    paths: StatePaths
    plan: Plan
    logs: Logging | None
    reload: Reload
    supervisor: ServiceSupervisor
    on_tick: Callable[[], None] = lambda: None


class Services:
    """All listening services of one daemon. Make it before the fleet begins, so that no fact is missed."""

    def __init__(self, fleet: Fleet, store: Store, bus: Bus, clock: Clock, host: Host) -> None:
        paths, plan = host.paths, host.plan
        self._fleet = fleet
        self._bus = bus
        self._clock = clock
        self._root = paths.root
        most = open_streams(limit())
        self.collector = LogCollector(paths.root, bus.publish, limits=limits_of(plan), on_lines=self._on_lines, most_open=most)
        self.alerts = Alerts(fleet, store, bus, clock, plan.section("alerts"))
        self.clients = ClientsService(fleet, store, bus, clock, paths.root)
        self.rotator = Rotator(self.clients, host.reload, clock, paths.root, last_use=self._last_use)
        self.self_watch = SelfWatch(self._on_gap, self._on_tick)
        self.promises: Callable[[], PromisesNow] = PromisesNow
        """How the objectives stand; the room that measures them puts its answer here."""
        seen = readings(self.alerts, fleet, plan, lambda: self.promises())  # noqa: PLW0108 - it is set later
        house = TelemetryContext(fleet, bus, clock, paths.root, __version__, host.logs, seen)
        self.telemetry = Telemetry(house, telemetry_of(plan))
        self.backup = ScheduledBackup(_backup_of(plan), lambda: self._backup_source(paths), clock, bus.publish)
        self.on_lines: list[Callable[[], None]] = []
        """Called when members wrote; whatever follows their logs adds itself here."""
        self._supervisor = host.supervisor
        self._troubles = Troubles(bus)
        self._turned = host.on_tick
        self._beat: float | None = None
        self._beaten = self._recycled = 0.0
        self._ticks = 0

    @property
    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Every room's own commands, for the control socket."""
        own: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): self._health,
            ("GET", "/tools"): self._show_tools,
            ("GET", "/tools/{name}"): self._show_tools,
            ("POST", "/pin/{name}"): self._pin,
        }
        alerts = self._marked("alerts", self.alerts.handlers)
        clients = self._marked("clients", ClientsApi(self.clients).handlers())
        return {**own, **alerts, **clients, **self.rotator.handlers()}

    def _marked(self, service: str, handlers: Mapping[tuple[str, str], Handler]) -> dict[tuple[str, str], Handler]:
        """The same handlers, whose answers say so when the service behind them is down."""

        def marked(handler: Handler) -> Handler:
            async def answer(body: dict[str, Any]) -> Any:
                return unknown(await handler(body), self._supervisor.reason(service))

            return answer

        return {key: marked(handler) if key[0] == "GET" else handler for key, handler in handlers.items()}

    async def _health(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        """The watchdog answers, so it is healthy; a service that is down is started again by itself, not by a restart."""
        down = self._supervisor.down
        return {"healthy": True, "fleet": self._fleet.view().healthy, "reason": "", "down": list(down), "pid": os.getpid()}

    async def _show_tools(self, body: dict[str, Any]) -> Any:
        name = body.get("name")
        return self._fleet.contracts.show(str(name)) if name else self._fleet.contracts.overview()

    async def _pin(self, body: dict[str, Any]) -> list[str]:
        return self._fleet.contracts.pin(str(body["name"]))

    def work(self) -> tuple[tuple[str, Run], ...]:
        """What runs beside the fleet once it has begun, by name. From now on the service manager hears a heartbeat."""
        self._beat = heartbeat()
        return (
            ("log collector", self.collector.run),
            ("telemetry", self.telemetry.begin),
            ("alerts", self.alerts.run),
            ("clients", self.clients.run),
            ("token rotation", self.rotator.run),
            ("backup", self.backup.run),
        )

    def shipping(self) -> Mapping[str, Any] | None:
        """How log shipping goes; `None` where logs are not shipped."""
        found = self.telemetry.shipping
        return None if found is None else {"backlog_bytes": found.backlog_bytes, "oldest": found.oldest, "sent": found.sent}

    def reload(self, plan: Plan) -> None:
        """Take a new plan's sections; what is open stays open."""
        self.alerts.reload(plan.section("alerts"))
        self.collector.retune(limits_of(plan))
        self.telemetry.retune(telemetry_of(plan))
        self.backup.retune(_backup_of(plan))

    async def _last_use(self, token: str) -> WallTime | None:
        """When our own gateway last let this token in. Raises `RuntimeFailed` where it is another proxy, or away."""
        reply = await AdminSocket(self._root / "proxy" / "admin.sock").request("GET", "/tokens")
        at = reply.body.get(hashlib.sha256(token.encode()).hexdigest()[:16]) if reply.status == 200 else None
        return None if at is None else WallTime(float(at))

    def _backup_source(self, paths: StatePaths) -> BackupSource:
        from mcpwatch.app.backup.create import source_of

        plan = self._fleet.plan()
        return source_of(Path(plan.source), plan, paths)

    def _on_lines(self) -> None:
        """Members wrote: what ships logs need not look before."""
        self.telemetry.wake()
        for call in self.on_lines:
            call()

    def _on_gap(self, gap: Gap) -> None:
        """Time that was not watched is told and held against nobody; by a clock that was set, checks go from now on."""
        if gap.cause == "clock_step":
            self._fleet.clock_set()
        else:
            self._fleet.unwatched()
        self._bus.publish(WatchGap(at=self._clock.wall(), text=gap.text, level="warning", seconds=gap.seconds, cause=gap.cause))

    def _on_tick(self) -> None:
        """At each tick: the figures of the watchdog itself, and the heartbeats to the hang watch and the service manager."""
        self._turned()
        self._ticks += 1
        cannot = (self._supervisor.down, self._troubles.now)
        if self._ticks % FIGURES_EVERY == 1 or cannot != (self._fleet.daemon.down, self._fleet.daemon.troubles):
            self._figures()
        now = self._clock.now()
        if now - self._recycled >= RECYCLE_EVERY:
            self._recycled = now
            self._fleet.recycle()
        if self._beat is not None and now - self._beaten >= self._beat:
            self._beaten = now
            notify("WATCHDOG=1")

    def _figures(self) -> None:
        seen = self.self_watch.look()
        self._fleet.daemon = replace(
            self._fleet.daemon,
            rss=seen.rss,
            fds=seen.fds,
            cpu_seconds=seen.cpu_seconds,
            loop_lag=seen.loop_lag,
            schedule_lag=self._fleet.monitor.probing.worst_lag,
            dropped_facts=self._bus.dropped,
            down=self._supervisor.down,
            troubles=self._troubles.now,
        )


def unknown(answer: Any, reason: str) -> Any:
    """An answer of a service that is down for `reason`: it, and every row of it, says `unknown`; nothing is told as in sync."""
    if not reason:
        return answer
    rows = cast("list[Any]", answer) if isinstance(answer, list) else [answer]
    marked = [{**row, "unknown": reason, **({"in_sync": None} if "in_sync" in row else {})} for row in rows]
    return marked if isinstance(answer, list) else marked[0]


def telemetry_of(plan: Plan) -> TelemetrySpec:
    """What the configuration says of telemetry, or the defaults."""
    return TelemetrySpec.or_default(plan.section("telemetry"))


def _backup_of(plan: Plan) -> BackupSpec | None:
    found = plan.section("backup")
    return found if isinstance(found, BackupSpec) else None
