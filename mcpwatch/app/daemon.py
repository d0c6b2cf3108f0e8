"""The composition root: builds the services, owns the task group, the signals, the reload and the order of the end.

The only file that knows every room. It decides nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcpwatch import __version__, slow
from mcpwatch.app.files import write_files
from mcpwatch.app.garbage import settle
from mcpwatch.app.hang import HangWatch, was_hung
from mcpwatch.app.leader import Leadership
from mcpwatch.app.logs import Screen, retune, set_up
from mcpwatch.app.notify import notify
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.plan_reader import read_plan
from mcpwatch.app.proxy_log import ProxyLog
from mcpwatch.app.services import Host, Services
from mcpwatch.app.shortage import Descriptors, ReadyThreads, SheddingProber
from mcpwatch.app.state_dir import ControlSocket, StateDirectory
from mcpwatch.app.status import StatusFile
from mcpwatch.app.supervise import Run, ServiceSupervisor
from mcpwatch.app.tail import Tail
from mcpwatch.app.upgrade import answer_signals, exec_anew, rehearse
from mcpwatch.app.watch import watch_file
from mcpwatch.app.web import Around, Web
from mcpwatch.bus import Bus
from mcpwatch.checks import Prober
from mcpwatch.clock import SystemClock
from mcpwatch.config.diff import diff
from mcpwatch.model.errors import ConfigError, McpwatchError, UsageError
from mcpwatch.model.fact import ConfigRejected, DaemonStarted, DaemonStopped, MemberChanged, Troubled
from mcpwatch.model.json import plain
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.model.view import SelfView
from mcpwatch.ports import ProxyKind, Runtime
from mcpwatch.proxies import PROXIES
from mcpwatch.registry import find
from mcpwatch.runtimes import RUNTIMES
from mcpwatch.runtimes.hosted import HostedRuntime
from mcpwatch.runtimes.lock import Lock
from mcpwatch.runtimes.port import PortWatch, child_of
from mcpwatch.runtimes.stopped import StopWatch
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.telemetry.logs import LogFormat, Logging
from mcpwatch.watchdog.beside import beside
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.senses import Senses

Observer = Callable[["Daemon"], Coroutine[Any, Any, None]]
DIRECTORY_EVERY = 2
"""Ticks between two looks at the lock and the control socket."""


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


class Daemon:
    """One watchdog. `run` returns the exit code."""

    def __init__(self, options: Options) -> None:
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
        self._state_dir: StateDirectory
        self._descriptors: Descriptors
        self._prober: SheddingProber
        self._status: StatusFile | None = None
        self._stop = asyncio.Event()
        self.begun = False
        """Whether it leads its fleet, or did."""
        self._leave = False
        self._exec = False
        self._living: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._hang = HangWatch(exec_anew)
        self._turns = 0
        self._runtimes: dict[str, Runtime] = {}
        self._leadership = Leadership(self.bus.publish, self.clock, self._on_leave)
        self._tasks: asyncio.TaskGroup
        self._loop: asyncio.AbstractEventLoop

    def rehearse(self) -> None:
        """Do what `run` does before it takes anything. Raises `McpwatchError` when it would not begin."""
        self.carry(self._load())

    def carry(self, plan: Plan) -> None:
        """Load what carries the members. Raises `McpwatchError` when one of them cannot be carried."""
        for name in sorted({member.runtime for member in plan.members}):
            self._runtime(name)

    async def run(self, plan: Plan, observer: Observer | None = None) -> int:
        """Supervise this plan until told to stop. Raises `AlreadyRunning` and other `McpwatchError` before anything starts."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ReadyThreads())
        self.paths.make()
        self._descriptors = Descriptors(self.bus.publish, self.clock.wall)
        self._loop.set_exception_handler(self._descriptors.on_error)
        self._prober = SheddingProber(Prober(), lambda: self._descriptors.probes)
        with Lock(self.paths.lock) as lock:
            self.store = SqliteStore(self.paths.store, self._store_trouble)
            self.logs = set_up(plan, self._screen, self.options.log_format)
            try:
                with self._hang.armed():
                    await self._serve(plan, lock, observer)
            except* McpwatchError as group:
                raise _first(group) from None
            finally:
                if self._status is not None:
                    await self._status.write()
                self.store.close()
                await asyncio.to_thread(self.logs.close)
        if self._exec:
            exec_anew()
        return 0

    @property
    def _screen(self) -> Screen:
        return "picture" if self.options.live else "lines"

    def _load(self) -> Plan:
        return read_plan(self.options.config, self.paths.root)

    async def _serve(self, plan: Plan, lock: Lock, observer: Observer | None) -> None:
        socket = ControlSocket(self.paths.control)
        self._state_dir = StateDirectory(
            self.paths,
            lock,
            socket,
            tell=self._tell_state_dir,
            lost=self._on_leave,
            put_back=lambda: self._prepare(self.fleet.plan()),
        )
        self.bus.hook(self.store.record)
        started = self.clock.wall()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._signals()
                daemon = SelfView(os.getpid(), __version__, started, str(self.paths.root), str(self.options.config.absolute()))
                self.fleet = Fleet(
                    self._runtime,
                    self._prober,
                    self.clock,
                    self.bus.publish,
                    self._guard,
                    self.store,
                    senses=self._senses(),
                    daemon=daemon,
                )
                self.fleet.daemon = replace(self.fleet.daemon, carries=self._descriptors.carries)
                self._tell_past()
                self._prepare(plan)
                host = Host(self.paths, plan, self.logs, self.reload, self.supervisor, self._turned)
                self.services = Services(self.fleet, self.store, self.bus, self.clock, host)
                self._keep("self-watch", self.services.self_watch.run)
                self.web = self._web(plan)
                self._keep("control", lambda: socket.run(self.web.control()))
                self._status = StatusFile(self.fleet, self.paths.status, self.bus)
                self._keep("status", self._status.run)
                if self.options.watch_config:
                    self._keep("config watch", lambda: watch_file(self.options.config, self._reload_quietly))
                self._keep("proxy log", self._proxy_log().run)
                plan = await self._lead(plan)
                adopted = 0 if self._stop.is_set() else await self.fleet.begin(plan)
                for name, run in (*self.services.work(), *self.web.work()):
                    self._keep(name, run)
                text = f"mcpwatch {__version__} watches {len(plan.members)} members" + (f", {adopted} adopted" if adopted else "")
                if self._descriptors.carries:
                    text += f"; the limit of open files carries about {self._descriptors.carries}"
                self.bus.publish(DaemonStarted(at=self.clock.wall(), text=text, pid=os.getpid(), adopted=adopted))
                self.begun = True
                notify(f"READY=1\nSTATUS={text}")
                slow.watch()  # from here on: nobody waits for an answer before
                settle()
                if observer is not None:
                    self._guard(observer(self), "observer")
                await self._stop.wait()
                await self._end()
                await self.services.collector.drain()
                await socket.close()
                await self._prober.close()
                for task in tuple(self._living):
                    task.cancel()
        finally:
            socket.remove()
            if hasattr(self, "services"):
                self.services.collector.close()  # waits for the thread that stamps: the next watchdog must find it at rest

    async def _lead(self, plan: Plan) -> Plan:
        """Wait until we lead the fleet, if others may; returns the plan to lead by: the file may have changed meanwhile."""
        if not await self._leadership.gain(plan, self._stop):
            self._leave = True  # told to end while another leads: the fleet is its
        elif self._leadership.shared:
            with contextlib.suppress(ConfigError):
                plan = await asyncio.to_thread(self._load)
            self._prepare(plan)
            self.services.reload(plan)
            self.web.reload(plan)
        return plan

    def _web(self, plan: Plan) -> Web:
        services = self.services
        around = Around(
            self.fleet, self.store, self.bus, self.clock, self.paths, self.logs, services.alerts, self, services.handlers,
            services.shipping,
        )  # fmt: skip
        web = Web(around, plan)
        services.promises = web.standing.now
        services.on_lines.append(web.logs.wake)
        return web

    def _proxy_log(self) -> ProxyLog:
        listening = ProxyLog(self.fleet, self.paths.root)
        self.services.on_lines.append(listening.wake)
        self.bus.hook(lambda fact: listening.wake() if isinstance(fact, MemberChanged) else None)
        return listening

    async def _end(self) -> None:
        """Stop the fleet, or let go of it; a second signal cuts the grace short."""
        self._descriptors.release()
        if not self._exec:  # after an upgrade in place this same process goes on
            notify("STOPPING=1")
        words = "the watchdog leaves its members running" if self._leave else "the watchdog stops"
        self.bus.publish(DaemonStopped(at=self.clock.wall(), text=words, members_left=self._leave))
        if self._leave:
            self.fleet.close()
        else:
            await self.fleet.stop()
        for runtime in self._runtimes.values():
            await runtime.close()
        await self._leadership.close()

    # What the services need.

    def _runtime(self, name: str) -> Runtime:
        """The runtime of that name, made when first needed: a fleet without containers needs no engine."""
        if name not in self._runtimes:
            kind = find(RUNTIMES, name)
            if kind is None:
                raise McpwatchError(f"no runtime '{name}'")
            self._runtimes[name] = self._leadership.fenced(kind.make(self.paths.root, self.paths.instance))
        return self._runtimes[name]

    def _guard(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        """A task of the daemon's group whose failure is told and never takes the watchdog down."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the last line of defence: the watchdog must not be the outage
                text = f"{name} failed: {type(error).__name__}: {error}"
                self.bus.publish(Troubled(at=self.clock.wall(), text=text, level="error", subject=name))

        task = self._tasks.create_task(guarded(), name=name)
        self._living.add(task)
        task.add_done_callback(self._living.discard)
        return task

    def _keep(self, name: str, run: Run) -> None:
        """A service of the daemon: started again with backoff when it fails."""
        self._guard(self.supervisor.keep(name, run), name)

    def _prepare(self, plan: Plan) -> bool:
        """Write what the proxy reads and learn its traits. Returns whether a file changed."""
        if plan.proxy is None:
            return False
        kind = find(PROXIES, plan.proxy.kind)
        if kind is None:
            raise McpwatchError(f"no proxy kind '{plan.proxy.kind}'")
        proxy: ProxyKind = kind.make()
        self.fleet.monitor.learn(proxy.traits)
        return write_files(proxy.render(plan.proxy, self.paths.root))

    def _senses(self) -> Senses:
        """What the fleet asks of this machine and of the gateway."""
        ports, tail = PortWatch(self.paths.instance), Tail(self.paths.root, self.logs.redact, self._began)
        senses = Senses(
            tail=tail.of,
            words=tail.recent,
            stopped=StopWatch().stopped,
            port_holder=ports.held_by,
            listening=ports.listening,
            places=ports.places,
            rival=ports.rival,
            child=child_of,
            runs=ports.runs,
            inside=ports.inside,
            prepare=self._put_right,
            notice=lambda: self.services.self_watch.notice(),  # noqa: PLW0108 - the services are built from the fleet
            nudge=HostedRuntime(self.paths.root, self.paths.instance).nudge,
            hold=self.bus.hold,
        )
        return beside(senses, asyncio.to_thread, self.clock)

    def _began(self, member: str) -> float:
        """When the present run of a member began, in epoch seconds, or 0 when that is not known."""
        actor = self.fleet.actors.get(member)
        living = actor.incarnation if actor is not None else None
        return living.started_at or 0.0 if living is not None else 0.0

    async def _put_right(self, member: MemberSpec) -> None:
        """What a proxy reads is as the plan says before each of its starts, whoever changed it."""
        proxy = self.fleet.plan().proxy
        kind = find(PROXIES, proxy.kind) if proxy is not None and proxy.member == member.name else None
        if proxy is None or kind is None:
            return
        try:
            changed = write_files(kind.make().render(proxy, self.paths.root))
        except McpwatchError as error:
            self.bus.publish(Troubled(at=self.clock.wall(), text=str(error), level="warning", subject="proxy file"))
            return
        text = f"{member.name}: somebody had changed the file that it reads; it is as the configuration says again"
        if changed:
            self.bus.publish(Troubled(at=self.clock.wall(), text=text, level="warning", subject="proxy file", cleared=True))

    def _store_trouble(self, text: str | None) -> None:
        """Called in the store's thread: tell it on the loop."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell_store, text)

    def _tell_store(self, text: str | None) -> None:
        words = text or "the store can be written again"
        level = "error" if text else "info"
        self.bus.publish(Troubled(at=self.clock.wall(), text=words, level=level, subject="store", cleared=text is None))

    def _tell_state_dir(self, text: str, bad: bool) -> None:
        level = "error" if bad else "warning"
        self.bus.publish(Troubled(at=self.clock.wall(), text=text, level=level, subject="state directory"))

    def _turned(self) -> None:
        """At each tick: the loop turns, and what it stands on is there."""
        self._hang.beat()
        self._descriptors.look(self._prober.probing)
        self._prober.admit()
        self._turns += 1
        if self._turns % DIRECTORY_EVERY == 0 and not self._stop.is_set():
            self._state_dir.look()

    def _tell_past(self) -> None:
        """What happened before there was anybody to tell it."""
        if self.store.set_aside:
            self.bus.publish(Troubled(at=self.clock.wall(), text=self.store.set_aside, level="warning", subject="store"))
        if hung := was_hung():
            self.bus.publish(Troubled(at=self.clock.wall(), text=hung, level="error", subject="watchdog"))

    # Signals and commands.

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._guard(self._reload_quietly(), "reload"))
        loop.add_signal_handler(signal.SIGQUIT, self._on_leave)
        answer_signals()

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self.fleet.hurry()
        self._leave = self._leave or self._leadership.shared  # whoever leads next takes the members over as they are
        self._stop.set()

    def _on_leave(self) -> None:
        self._leave = True
        self._stop.set()

    async def down(self, *, leave: bool) -> None:
        """Stop the watchdog (and, unless `leave`, all members). Returns at once."""
        self._leave = leave
        asyncio.get_running_loop().call_later(0.05, self._stop.set)

    async def remembered(self) -> None:
        """Return when what was commanded so far is on disk. Raises `StoreError` when it cannot be written now."""
        await self.store.durable()

    async def upgrade(self) -> None:
        """Leave the members running and become the code that is on disk now, if it starts. Raises `McpwatchError` if not."""
        try:
            await rehearse()
        except McpwatchError as error:
            self.bus.publish(Troubled(at=self.clock.wall(), text=str(error), level="error", subject="upgrade"))
            raise
        self._leave = self._exec = True
        asyncio.get_running_loop().call_later(0.05, self._stop.set)

    async def reload(self) -> dict[str, Any]:
        """Load the configuration again and apply it. A bad file changes nothing, and raises `ConfigError` after telling so."""
        async with self._reloading:
            await self.fleet.until_begun()  # else what is adopted meanwhile would be new to the plan, and started once more
            try:
                plan = await asyncio.to_thread(self._load)
            except ConfigError as error:
                faults = tuple(str(fault) for fault in error.faults)
                told = faults[0] if len(faults) == 1 else f"{faults[0]} (and {len(faults) - 1} more)"
                self.fleet.daemon = replace(self.fleet.daemon, config_error=told)
                text = f"configuration rejected, the running one stays: {told}"
                self.bus.publish(ConfigRejected(at=self.clock.wall(), text=text, level="error", faults=faults))
                raise
            self.fleet.daemon = replace(self.fleet.daemon, config_error="")
            retune(self.logs, plan, self._screen, self.options.log_format)
            changes = diff(self.fleet.plan(), plan)
            await self.fleet.apply(plan, changes, lambda: self._prepare(plan))
            self.services.reload(plan)
            self.web.reload(plan)
            return plain(changes)

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ConfigError, UsageError):  # one that stands by reads the file when it leads
            await self.reload()


def _first(group: BaseExceptionGroup[McpwatchError]) -> McpwatchError:
    """The first error of a group: what a person is told."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, McpwatchError)
    return found
