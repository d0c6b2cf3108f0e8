"""The composition root: the rooms of one watchdog, and how each is made from the others. The only file that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mcpwatch import __version__
from mcpwatch.app.leader import Leadership
from mcpwatch.app.logs import Screen
from mcpwatch.app.machine_senses import Tail, machine_senses
from mcpwatch.app.own_trouble import OwnTrouble
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.plan_reader import read_plan
from mcpwatch.app.proxy_files import proxy_of, put_right
from mcpwatch.app.proxy_log import ProxyLog
from mcpwatch.app.services import Services, telemetry_of
from mcpwatch.app.shortage import Descriptors, SheddingProber
from mcpwatch.app.supervise import GuardedTasks, ServiceSupervisor
from mcpwatch.app.web import Around, Web
from mcpwatch.bus import Bus
from mcpwatch.clock import SystemClock
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.fact import MemberChanged
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import SelfView
from mcpwatch.ports import Runtime
from mcpwatch.registry import find
from mcpwatch.runtimes import RUNTIMES
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.telemetry.logs import LogFormat, Logging
from mcpwatch.telemetry.service import load_library
from mcpwatch.watchdog.beside import beside
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.senses import Senses
from mcpwatch.web.api.control import Operations


@dataclass(frozen=True, slots=True)
class Options:
    """How the daemon is run."""

    config: Path
    paths: StatePaths
    watch_config: bool = True
    live: bool = False
    """A picture of the fleet is drawn on the terminal: the log goes only to other targets."""
    log_format: LogFormat | None = None
    """`human` and `json` win over the configuration; `auto`: as it says, and `human` where it does not."""


class Assembly:
    """What a watchdog consists of. `on_leave` is called when another watchdog leads its fleet."""

    def __init__(self, options: Options, on_leave: Callable[[], None]) -> None:
        self.options = options
        self.paths = options.paths
        self.clock = SystemClock()
        self.bus = Bus()
        self.supervisor = ServiceSupervisor(self.bus.publish, self.clock)
        self.fleet: Fleet
        self.services: Services
        self.web: Web
        self.logs: Logging
        self.store: SqliteStore
        self._descriptors: Descriptors
        self._prober: SheddingProber
        self._trouble = OwnTrouble(self.bus.publish, self.clock.wall)
        self._runtimes: dict[str, Runtime] = {}
        self._leadership = Leadership(self.bus.publish, self.clock, on_leave)
        self._tasks: GuardedTasks
        self._loop: asyncio.AbstractEventLoop

    @property
    def _screen(self) -> Screen:
        return "picture" if self.options.live else "lines"

    def _load(self) -> Plan:
        plan = read_plan(self.options.config, self.paths.root)
        load_library(telemetry_of(plan))  # here, because the loop may not be held for it
        return plan

    def carry(self, plan: Plan) -> None:
        """Load what carries the members. Raises `McpwatchError` when one of them cannot be carried."""
        for name in sorted({member.runtime for member in plan.members}):
            self._runtime(name)

    def _runtime(self, name: str) -> Runtime:
        """The runtime of that name, made when first needed: a fleet without containers needs no engine."""
        if name not in self._runtimes:
            kind = find(RUNTIMES, name)
            if kind is None:
                raise McpwatchError(f"no runtime '{name}'")
            self._runtimes[name] = self._leadership.fenced(kind.make(self.paths.root, self.paths.instance))
        return self._runtimes[name]

    def _make_fleet(self, started: WallTime) -> Fleet:
        daemon = SelfView(os.getpid(), __version__, started, str(self.paths.root), str(self.options.config.absolute()))
        fleet = Fleet(
            self._runtime,
            self._prober,
            self.clock,
            self.bus.publish,
            self._tasks.guard,
            self.store,
            senses=self._senses(),
            daemon=daemon,
        )
        fleet.daemon = replace(fleet.daemon, carries=self._descriptors.carries)
        return fleet

    def _make_web(self, plan: Plan, operations: Operations) -> Web:
        services = self.services
        around = Around(
            self.fleet, self.store, self.bus, self.clock, self.paths, self.logs, services.alerts, operations, services.handlers,
            services.shipping,
        )  # fmt: skip
        web = Web(around, plan)
        services.promises = web.standing.now
        services.on_lines.append(web.logs.wake)
        return web

    def _make_proxy_log(self) -> ProxyLog:
        listening = ProxyLog(self.fleet, self.paths.root)
        self.services.on_lines.append(listening.wake)
        self.bus.hook(lambda fact: listening.wake() if isinstance(fact, MemberChanged) else None)
        return listening

    def _prepare(self, plan: Plan) -> bool:
        """Write what the proxy reads and learn its traits. Returns whether a file changed."""
        proxy = proxy_of(plan)
        if proxy is not None:
            self.fleet.monitor.learn(proxy.kind.traits)
        changed = proxy is not None and proxy.write(self.paths.root)
        self._trouble.proxy_file()
        return changed

    def _senses(self) -> Senses:
        """What the fleet asks of this machine and of the gateway."""

        async def prepare(member: MemberSpec) -> None:
            put_right(self.fleet.plan(), member, self.paths.root, self._trouble)

        def began(member: str) -> float:
            actor = self.fleet.actors.get(member)
            living = actor.incarnation if actor is not None else None
            return living.started_at or 0.0 if living is not None else 0.0

        tail = Tail(self.paths.root, self.logs.redact, began)
        senses = machine_senses(self.paths, tail, prepare, lambda: self.services, self.bus.hold)
        return beside(senses, asyncio.to_thread, self.clock)

    def _store_trouble(self, text: str | None) -> None:
        """Called in the store's thread: tell it on the loop."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._trouble.store, text)
