"""The watchdog looks at itself: lag of its event loop, memory, open files, processor time, and times in which it did not run.

For `app`: `run` ticks every two seconds, `look` gives the figures, `on_gap` and `on_tick` are called in the loop (the
service manager's heartbeat hangs on the latter, so a hung loop is a missing heartbeat). Knows nothing of members.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mcpwatch.runtimes.clock_gap import TOLERANCE, Gap, Tick, gaps
from mcpwatch.runtimes.process_usage import sample_self

EVERY = 2.0
"""Seconds between two ticks, which fall on the even seconds of the wall clock as the slots of checks do: one wake is for both."""
WINDOW = 30
"""Ticks over which the worst lag is told."""
SAMPLE = 8
"""Ticks between two samples of memory and files."""

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Figures:
    """`loop_lag`: worst of the last minute, seconds. `rss` bytes, `fds` open descriptors, `cpu_seconds` since the start."""

    loop_lag: float = 0.0
    rss: int = 0
    fds: int = 0
    cpu_seconds: float = 0.0


class SelfWatch:
    """Ticks for ever; cheap enough to be always on."""

    def __init__(
        self,
        on_gap: Callable[[Gap], None] = lambda _: None,
        on_tick: Callable[[], None] = lambda: None,
        read: Callable[[], Tick] | None = None,
    ) -> None:
        """`read` reads the three clocks; by default the machine's."""
        self._on_gap = on_gap
        self._on_tick = on_tick
        self._read = read or _read
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._sample = sample_self()
        self._ticks = 0
        self._before = self._read()
        self._due = EVERY
        """Seconds from the last look to the tick that is due."""

    async def run(self) -> None:
        """Tick until cancelled, by a timer: a task that sleeps takes two turns of the loop. An error of a tick ends it."""
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[None] = loop.create_future()

        def turn() -> None:
            nonlocal timer
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - told to whoever runs this
                failed.set_exception(error)
            else:
                timer = loop.call_later(self._next(), turn)

        self._before = self._read()
        timer = loop.call_later(self._next(), turn)
        try:
            await failed
        finally:
            timer.cancel()

    def _next(self) -> float:
        self._due = until_tick(time.time())
        return self._due

    def tick(self) -> None:
        """One tick, when it is due."""
        late = self._look_for_gaps()
        if late is not None:
            self._lags.append(late)
        self._ticks += 1
        if self._ticks % SAMPLE == 0:
            self._sample = sample_self()
        self._on_tick()

    def notice(self) -> None:
        """Tell a gap at once, before the next tick does: for who is about to judge by a time that may not have been watched."""
        if self._read().monotonic - self._before.monotonic > self._due + TOLERANCE:
            self._look_for_gaps()

    def _look_for_gaps(self) -> float | None:
        """Tell what was missed since the last look; by how many seconds this one is late, `None` where it was missed altogether."""
        before, now = self._before, self._read()
        self._before = now
        found = gaps(before, now, self._due)
        for gap in found:
            self._on_gap(gap)
        stopped = any(gap.cause == "stopped" for gap in found)
        return None if stopped else max(0.0, now.monotonic - before.monotonic - self._due)

    def look(self) -> Figures:
        """The figures now; those of memory and files may be `SAMPLE` seconds old."""
        used = self._sample
        return Figures(round(max(self._lags, default=0.0), 4), used.rss, used.fds, used.cpu_seconds)


def _read() -> Tick:
    return Tick(time.monotonic(), time.clock_gettime(_BOOT), time.time())


def until_tick(wall: float) -> float:
    """Seconds from this wall time until the next tick: between half of `EVERY` and one and a half."""
    left = EVERY - wall % EVERY
    return left if left > EVERY / 2 else left + EVERY
