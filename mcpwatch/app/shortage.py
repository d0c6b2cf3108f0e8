"""Machines that run out of things: spare descriptors for a stop and a command, probes that wait first, threads made in advance.

Owns what is given up, and in which order: probes wait, then answer "unknown"; then connections wait; a stop always finds what it
needs. Must not know what a probe or a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mcpwatch.model.fact import Troubled
from mcpwatch.model.probe import Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import WallTime
from mcpwatch.ports import ProbeRunner, Publish
from mcpwatch.runtimes import descriptors

SPARE = 8
"""Descriptors held in reserve: what a stop, a look at /proc and one control connection need at once."""
PER_PROBE = 4
"""Descriptors of one probe: its connections, a look at a name service."""
PROBES_MOST = 256
"""Probes at once where descriptors set no bound."""
THREADS = 4
"""Threads that are made at the start, so that files can be written when no new thread can be had."""
CALM = 3
"""Looks of which only one counts, as long as less than half of the limit is used: counting costs more than all else at rest."""
SUBJECT = "open files"

_log = logging.getLogger("mcpwatch.shortage")


class Descriptors:
    """Looks at the limit of open files at each tick, and holds a reserve of them. Belongs to the loop."""

    def __init__(self, publish: Publish, wall: Callable[[], WallTime]) -> None:
        """Raises the soft limit, and takes the reserve."""
        self._publish = publish
        self._wall = wall
        self.limit = descriptors.raise_limit()
        self._spare: list[int] = []
        self._told = self._released = False
        self._said = float("-inf")
        self._calm = 0
        self.probes = PROBES_MOST
        """Probes that may run at once now."""
        self._hold()

    @property
    def carries(self) -> int:
        """Members that the limit carries; 0 when it has no bound."""
        return descriptors.carries(self.limit)

    def look(self, probing: int) -> None:
        """At each tick: how much is left, with `probing` probes under way."""
        if self._released:
            return
        if self._calm and len(self._spare) >= SPARE:
            self._calm -= 1
            return
        self._hold()
        used = descriptors.used()
        free = self.limit - (used or 0)  # what nothing tells is no shortage: the reserve shows one all the same
        self._calm = CALM - 1 if 2 * free > self.limit else 0
        self.probes = max(1, min(PROBES_MOST, probing + (free - SPARE) // PER_PROBE))
        short = free < SPARE or len(self._spare) < SPARE
        if short != self._told:
            self._told = short
            left = "its limit of open files is reached" if short else "there are open files to spare again"
            text = f"the watchdog: {left} ({self.limit}, carries about {self.carries} members); raise 'ulimit -n'"
            level = "error" if short else "info"
            self._publish(Troubled(at=self._wall(), text=text, level=level, subject=SUBJECT, cleared=not short))

    def release(self) -> None:
        """Give up the reserve for good: what comes now is the stop."""
        self._released = True
        self._drop()

    def on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's handler of errors: one for want of descriptors is a line now and then, and frees the reserve for a moment."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self._drop()
            if time.monotonic() - self._said > 30.0:
                self._said = time.monotonic()
                _log.error("no descriptor left: %s; the limit is %d", context.get("message", error), self.limit)
            return
        loop.default_exception_handler(context)

    def _hold(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._spare) < min(SPARE, self.limit // 6):
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _drop(self) -> None:
        while self._spare:
            os.close(self._spare.pop())


class SheddingProber:
    """Runs probes as long as there are descriptors for them: others wait, at most their own timeout, and are then unknown."""

    def __init__(self, prober: ProbeRunner, most: Callable[[], int]) -> None:
        """`most` tells how many probes may run at once now."""
        self._prober = prober
        self._most = most
        self._waiting: list[asyncio.Future[None]] = []
        self.probing = 0
        """Probes under way."""
        self.shed = 0
        """Probes that were not run, for want of descriptors."""

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """As `ports.ProbeRunner`."""
        if not await self._admitted(check.timeout):
            self.shed += 1
            return ProbeResult(Outcome.UNKNOWN, message="not probed: the watchdog is short of open files")
        self.probing += 1
        try:
            return await self._prober.probe(check, target, vantage)
        finally:
            self.probing -= 1
            self.admit()

    def forget(self, target: Target) -> None:
        """As `ports.ProbeRunner`."""
        self._prober.forget(target)

    async def close(self) -> None:
        """As `ports.ProbeRunner`."""
        await self._prober.close()

    async def _admitted(self, timeout: float) -> bool:
        """Wait for room, in turn. False when there is none within the timeout."""
        if self.probing < self._most() and (not self._waiting or not self.probing):
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout):
                await turn
        except TimeoutError:
            return False
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
        return True

    def admit(self) -> None:
        """Admit those who wait, as many as there is room for. Called when a probe ends, and at each tick."""
        room = self._most() - self.probing
        for turn in self._waiting[: max(0, room)]:
            self._waiting.remove(turn)
            if not turn.done():
                turn.set_result(None)


class ReadyThreads(ThreadPoolExecutor):
    """A pool that has `THREADS` threads from its start, and goes on with them where the machine has no more."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="mcpwatch")
        with contextlib.suppress(RuntimeError):
            for _ in range(THREADS):
                self.submit(time.sleep, 0.001)

    def _adjust_thread_count(self) -> None:
        """Add a thread unless one is idle; what cannot be had is waited for as long as there is one at all."""
        try:
            super()._adjust_thread_count()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
        except RuntimeError:
            if not self._threads:  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
                raise
