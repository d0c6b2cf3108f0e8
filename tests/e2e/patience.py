"""Waiting that a starved machine does not cut short, and a stall does not outlast."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

SHARE = 0.1
"""Of the time on the wall, what counts at least: the longest wait is ten times the bound."""


class Patience:
    """A bound in seconds of what some processes had: the time for which one of them waited for a processor does not count.

    One that works without end, sleeps, or is stopped has had all its time.
    """

    def __init__(self, seconds: float, pids: Callable[[], Iterable[int]]) -> None:
        self.seconds = seconds
        self._pids = pids
        self._begun = time.monotonic()
        self._before = {name: one.delay for name, one in _threads(pids()).items()}
        self._still: dict[str, tuple[float, float]] = {}

    def over(self) -> bool:
        """Whether they had their time. To be asked again and again: a wait that lasts is known by two looks."""
        return self.spent() > self.seconds

    def spent(self) -> float:
        """Seconds that they had, by the one that waited longest for a processor."""
        now = time.monotonic()
        wall = now - self._begun
        waited = max((self._waited(name, one, now) for name, one in _threads(self._pids()).items()), default=0.0)
        return max(wall - waited, wall * SHARE)

    def _waited(self, name: str, one: Thread, now: float) -> float:
        """What the kernel counted of a thread, and the wait that still lasts, which it counts at its end."""
        ran, since = self._still.get(name, (-1.0, now))
        if ran != one.ran or not one.runnable:
            since = now
        self._still[name] = one.ran, since
        return one.delay - self._before.get(name, 0.0) + now - since


class Thread(NamedTuple):
    """A thread as the kernel counts it: seconds for which it ran, for which it could and did not, and whether it could now."""

    ran: float
    delay: float
    runnable: bool


def _threads(pids: Iterable[int]) -> dict[str, Thread]:
    found: dict[str, Thread] = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    ran, delay, _ = (thread / "schedstat").read_text().split()
                    state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
                    found[thread.name] = Thread(int(ran) / 1e9, int(delay) / 1e9, state == "R")
    return found
