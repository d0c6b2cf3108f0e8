"""One watchdog from its start to its end: owns the task group, the signals, the reload and the order of the end.

The rooms are put together in `assembly`. It decides nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from mcpwatch import __version__, slow
from mcpwatch.app.assembly import Assembly, Options
from mcpwatch.app.garbage import settle
from mcpwatch.app.hang import HangWatch, notify
from mcpwatch.app.logs import retune, set_up
from mcpwatch.app.services import Host, Services
from mcpwatch.app.shortage import Descriptors, ReadyThreads, SheddingProber
from mcpwatch.app.state_dir import ControlSocket, StateDirectory
from mcpwatch.app.status import StatusFile
from mcpwatch.app.supervise import GuardedTasks
from mcpwatch.app.upgrade import answer_signals, exec_anew, rehearse
from mcpwatch.app.watch import watch_file, watch_secrets
from mcpwatch.checks import Prober
from mcpwatch.config.diff import diff
from mcpwatch.model.errors import ConfigError, McpwatchError, UsageError
from mcpwatch.model.fact import ConfigRejected, DaemonStarted, DaemonStopped
from mcpwatch.model.json import plain
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime
from mcpwatch.runtimes.lock import Lock
from mcpwatch.store.sqlite import SqliteStore

Observer = Callable[["Daemon"], Coroutine[Any, Any, None]]
DIRECTORY_EVERY = 2
"""Ticks between two looks at the lock and the control socket."""


class Daemon(Assembly):
    """One watchdog. `run` returns the exit code."""

    def __init__(self, options: Options) -> None:
        super().__init__(options, self._on_leave)
        self._state_dir: StateDirectory
        self._status: StatusFile | None = None
        self._stop = asyncio.Event()
        self.begun = False
        """Whether it leads its fleet, or did."""
        self._leave = False
        self._exec = False
        self._reloading = asyncio.Lock()
        self._hang = HangWatch(exec_anew)
        self._turns = 0

    def rehearse(self) -> None:
        """Do what `run` does before it takes anything. Raises `McpwatchError` when it would not begin."""
        self.carry(self._load())

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

    async def _serve(self, plan: Plan, lock: Lock, observer: Observer | None) -> None:
        socket = ControlSocket(self.paths.control)
        self._state_dir = StateDirectory(
            self.paths,
            lock,
            socket,
            tell=self._trouble.state_dir,
            lost=self._on_leave,
            put_back=lambda: self._prepare(self.fleet.plan()),
        )
        self.bus.hook(self.store.record)
        started = self.clock.wall()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = GuardedTasks(tasks, self.supervisor, self.bus.publish, self.clock.wall)
                self._signals()
                self._assemble(plan, started, socket)
                plan = await self._lead(plan)
                await self._begin(plan)
                if observer is not None:
                    self._tasks.guard(observer(self), "observer")
                await self._stop.wait()
                await self._end()
                await self.services.collector.drain()
                await socket.close()
                await self._prober.close()
                self._tasks.cancel()
        finally:
            socket.remove()
            if hasattr(self, "services"):
                self.services.collector.close()  # waits for the thread that stamps: the next watchdog must find it at rest

    def _assemble(self, plan: Plan, started: WallTime, socket: ControlSocket) -> None:
        """Build the fleet and its services, and run those that answer while another leads."""
        self.fleet = self._make_fleet(started)
        self._trouble.past(self.store.set_aside)
        self._prepare(plan)
        host = Host(self.paths, plan, self.logs, self.reload, self.supervisor, self._turned)
        self.services = Services(self.fleet, self.store, self.bus, self.clock, host)
        self._tasks.keep("self-watch", self.services.self_watch.run)
        self.web = self._make_web(plan, self)
        self._tasks.keep("control", lambda: socket.run(self.web.control()))
        self._status = StatusFile(self.fleet, self.paths.status, self.bus)
        self._tasks.keep("status", self._status.run)
        if self.options.watch_config:
            self._tasks.keep("config watch", lambda: watch_file(self.options.config, self._reload_quietly))
            self._tasks.keep("secret files", lambda: watch_secrets(lambda: self.fleet.plan().secret_files, self._reload_quietly))
        self._tasks.keep("proxy log", self._make_proxy_log().run)

    async def _begin(self, plan: Plan) -> None:
        """Adopt or start the fleet, run the other services, and say that all is up."""
        adopted = 0 if self._stop.is_set() else await self.fleet.begin(plan)
        for name, run in (*self.services.work(), *self.web.work()):
            self._tasks.keep(name, run)
        text = f"mcpwatch {__version__} watches {len(plan.members)} members" + (f", {adopted} adopted" if adopted else "")
        if self._descriptors.carries:
            text += f"; the limit of open files carries about {self._descriptors.carries}"
        self.bus.publish(DaemonStarted(at=self.clock.wall(), text=text, pid=os.getpid(), adopted=adopted))
        self.begun = True
        notify(f"READY=1\nSTATUS={text}")
        slow.watch()  # from here on: nobody waits for an answer before
        settle()

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

    def _turned(self) -> None:
        """At each tick: the loop turns, and what it stands on is there."""
        self._hang.beat()
        self._descriptors.look(self._prober.probing)
        self._prober.admit()
        self._turns += 1
        if self._turns % DIRECTORY_EVERY == 0 and not self._stop.is_set():
            self._state_dir.look()

    # Signals and commands.

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.guard(self._reload_quietly(), "reload"))
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
            self._trouble.tell("upgrade", str(error))
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
