"""Waiting that a starved machine does not cut short, and a stall does not outlast."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

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
        self._before = _delays(pids())

    def over(self) -> bool:
        """Whether they had their time."""
        wall = time.monotonic() - self._begun
        return wall > self.seconds and self.spent() > self.seconds

    def spent(self) -> float:
        """Seconds that they had, by the one that waited longest for a processor."""
        wall = time.monotonic() - self._begun
        waited = max((delay - self._before.get(thread, 0.0) for thread, delay in _delays(self._pids()).items()), default=0.0)
        return max(wall - waited, wall * SHARE)


def _delays(pids: Iterable[int]) -> dict[str, float]:
    """By thread, the seconds for which it could run and did not."""
    found: dict[str, float] = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return found
