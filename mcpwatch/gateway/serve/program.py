"""The gateway as a program: sockets, signals, reload, stop. `entry.py` is the way in.

Owns the process. Must not know messages.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from mcpwatch import slow
from mcpwatch.gateway.dialects import stamp
from mcpwatch.gateway.http.listener import Listener
from mcpwatch.gateway.serve.admin import Admin
from mcpwatch.gateway.serve.app import App
from mcpwatch.gateway.serve.fleet import ServedMembers
from mcpwatch.gateway.settings import Settings, split_listen
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.restart import UNRUNNABLE

LOOK_EVERY = 0.5
"""Seconds between looks at the configuration file."""
SUCCESSOR_WAIT = 120.0
"""Seconds that a file for another process is left to the gateway that takes this one's place; then it is taken here."""
GIVE_UP_LOOK = 0.2
"""Seconds between looks of a bridge at its server."""
GIVE_UP_AFTER = 3
"""Starts in a row that came to nothing before a bridge ends: it is of no use, and its supervisor has the better backoff."""
CLOSE_LIMIT = 1.0
"""Seconds that clients get to read their answers when the gateway stops."""

YOUNG = 5000
"""New objects after which the collector looks at them: what serves a request ends by its count of references, and is no circle."""

log = logging.getLogger("mcpwatch.gateway")


def run(
    settings: Settings, read: Callable[[], Settings], config: Path | None, admin: Path | None, logs: Path | None, log_to: str,
    *, seen: tuple[int, int, int] | None = None,
) -> int:  # fmt: skip
    """Serve until SIGTERM or SIGINT; `read` gives the settings again at a reload, `seen` is the file's stamp before its reading.

    Returns the exit code.
    """
    _log_to(log_to)
    program = GatewayProgram(settings, read, config, admin, logs)
    program.seen = seen
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(program.run())


class GatewayProgram:
    """One running gateway."""

    def __init__(
        self, settings: Settings, read: Callable[[], Settings], config: Path | None, admin: Path | None, logs: Path | None
    ) -> None:
        self._settings = settings
        self._read = read
        self._config = config
        self._admin_path = admin
        self.seen: tuple[int, int, int] | None = None
        """The stamp of the file that the settings were read from, where it is known: what was written after that is news."""
        self._app = App(settings)
        self._fleet = ServedMembers(logs, self._app.member_changed)
        self._admin = Admin(self._fleet, self._reload, self._app.token_uses, self._app.sessions.clients, self._refusal)
        self._stop = asyncio.Event()
        self._gave_up = ""
        self._exit_code: int | None = None
        self._reloading = asyncio.Lock()
        self._news = asyncio.Lock()
        self._left: tuple[str, float] | None = None
        """The process that the file is for, and until when it is left to that."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until stopped. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        limits = self._settings.limits
        public = Listener(self._app, limits.headers, int(limits.connections), int(limits.connections_per_address))
        private = Listener(self._admin, self._settings.limits.headers)
        host, port = split_listen(self._settings.listen)
        try:
            bound = await public.tcp(host, port)
        except OSError as error:
            log.error(
                "cannot listen on %s: %s; stop what holds it or choose another address", self._settings.listen, error.strerror
            )
            return 1
        self._admin.listen = f"{host or '0.0.0.0'}:{bound}"  # noqa: S104
        if self._admin_path is not None:
            await _own_socket(private, self._admin_path)
            self._begin(self._put_back(private, self._admin_path), "admin socket")
        try:
            await self._serve(f"{host or '*'}:{bound}")
            await self._stop.wait()
        except Exception:
            log.exception("the gateway cannot go on")
            self._exit_code = 1
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await self._end(public, private)
        if self._gave_up:
            log.error("%s", self._gave_up)
        return self._exit_code or 0

    async def _serve(self, where: str) -> None:
        """Start the fleet and what runs beside it."""
        loop = asyncio.get_running_loop()
        await self._fleet.apply(self._settings, lambda members: self._app.serve(self._settings, members))
        log.info("listening on %s, serving %s", where, ", ".join(self._fleet.members) or "nothing")
        gc.freeze()
        gc.set_threshold(YOUNG, 10, 10)
        gc.enable()
        slow.watch_turns(loop)
        self._begin(self._app.sessions.run(), "streams")
        if self._config is not None:
            loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._try_reload(), "reload"))
            self._begin(self._look(self._config), "configuration")
        if self._settings.bridge:
            self._begin(self._give_up(), "give up")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task until the end; kept for as long as it runs."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _put_back(self, private: Listener, path: Path) -> None:
        """Make the admin socket again when somebody removed it: without it the watchdog takes every server here for down."""
        ours, told = _socket(path), ""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if _socket(path) == ours is not None:
                continue
            private.refuse()  # what goes on through the old socket goes on
            try:
                await _own_socket(private, path)
            except OSError as error:
                if told != (told := str(error)):
                    log.error("%s: somebody removed the admin socket, and it cannot be made again: %s", path, error)
                continue
            ours, told = _socket(path), ""
            log.warning("%s: somebody removed the admin socket; made again", path)

    async def _give_up(self) -> None:
        """A bridge whose server cannot be started is of no use: end, so that its supervisor sees why, also by the exit code."""
        while not self._stop.is_set():
            await asyncio.sleep(GIVE_UP_LOOK)
            for member in self._fleet.members.values():
                main = member.main
                if main.record.fruitless >= GIVE_UP_AFTER or main.phase in {UpstreamPhase.FAILED, UpstreamPhase.ENDED}:
                    self._gave_up = f"{member.name}: {main.error or 'it cannot be started'}; giving up"
                    code = main.last_exit.code if main.last_exit is not None else None
                    told = code is not None and (code in main.record.policy.fatal_exit_codes or code in UNRUNNABLE)
                    self._exit_code = code if told else 1
                    self._stop.set()

    async def _end(self, public: Listener, private: Listener) -> None:
        log.info("stopping")
        public.refuse()
        await self._fleet.settle(self._settings.limits.drain)
        self._app.sessions.end()
        self._app.replicas.close()
        await asyncio.gather(public.drain(CLOSE_LIMIT), self._fleet.stop())
        self._admin.end()
        private.refuse()
        await private.drain(1.0)
        if self._admin_path is not None:
            self._admin_path.unlink(missing_ok=True)

    async def _reload(self) -> list[str]:
        async with self._reloading:
            settings = self._read()
            if self._leave(settings.process) or self._stop.is_set():
                return []
            if settings.listen != self._settings.listen:
                log.warning("listen changed from %s to %s; that takes a restart", self._settings.listen, settings.listen)
                settings = replace(settings, listen=self._settings.listen)
            changed = await self._fleet.apply(settings, lambda members: self._app.serve(settings, members))
            self._settings = settings
            log.info("configuration read again; changed: %s", ", ".join(changed) or "no server")
            return changed

    def _leave(self, process: str) -> bool:
        """Whether the file is for a gateway that is about to take this one's place: what it hosts is started by that, and once."""
        known = self._left is not None and self._left[0] == process
        if process == self._settings.process or (known and self._overdue()):
            self._left = None
            return False
        if not known:
            self._left = process, time.monotonic() + SUCCESSOR_WAIT
            log.info("the configuration is for the gateway that takes this one's place; left to that")
        return True

    def _overdue(self) -> bool:
        """Whether that gateway should have been here long ago."""
        return self._left is not None and time.monotonic() >= self._left[1]

    async def _refusal(self) -> str:
        """Why no server may be started here now: another gateway starts it. Empty where it may, as the file says by now."""
        if self._config is not None and not self._stop.is_set():
            await self._read_news(self._config)
        if self._stop.is_set():
            return "this gateway is stopping"
        return "the configuration is for the gateway that takes this one's place" if self._left is not None else ""

    async def _try_reload(self) -> None:
        try:
            await self._reload()
        except ConfigError as error:
            for fault in error.faults:
                log.error("configuration is left as it was: %s", fault)
        except Exception:  # whatever is wrong with one file, the next one must be read again
            log.exception("the configuration could not be taken")

    async def _look(self, path: Path) -> None:
        """Read the file again whenever it changed."""
        self.seen = self.seen or stamp(path)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self._read_news(path)

    async def _read_news(self, path: Path) -> None:
        """Read the file again if it changed, or if nobody came to take what was left. Whoever asks meanwhile waits for that."""
        now = stamp(path)
        if now is None or (now == self.seen and not self._overdue()):
            return
        async with self._news:
            if now != self.seen or self._overdue():
                await self._try_reload()
                self.seen = now


async def _own_socket(listener: Listener, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()  # noqa: ASYNC240
    before = os.umask(0o177)
    try:
        await listener.unix(str(path))
    finally:
        os.umask(before)


def _socket(path: Path) -> tuple[int, int] | None:
    """Device and inode of what is at the path, or `None`."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _log_to(target: str) -> None:
    if target == "syslog":
        from logging.handlers import SysLogHandler

        where = "/dev/log" if Path("/dev/log").exists() else ("localhost", 514)
        handler: logging.Handler = SysLogHandler(where, SysLogHandler.LOG_DAEMON)
        handler.setFormatter(logging.Formatter("mcpwatch-gateway[%(process)d]: %(levelname)s %(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
