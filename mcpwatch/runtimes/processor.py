"""Whether a member works while it is silent: by the processor time that its processes took since. Reads `/proc` when asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mcpwatch.runtimes.port import family

WORK = 0.2
"""Seconds of processor: less than that our own probes may cost it."""
FORGET = 600.0
"""Seconds after which a silence that nobody asks for is over."""
_TICK = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


class ProcessorWatch:
    """Remembers what a member had used when it was first asked about in a silence. `now` never steps back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: dict[tuple[int, float], tuple[float, float]] = {}

    def works(self, pid: int, silence: float) -> bool:
        """Whether a main process and those below it took `WORK` since this was first asked of this silence (any number)."""
        now, used = self._now(), used_by(family(pid))
        self._first = {key: kept for key, kept in self._first.items() if now - kept[0] < FORGET}
        _, before = self._first.get((pid, silence), (now, used))
        self._first[pid, silence] = now, before
        return used - before >= WORK


def used_by(pids: Iterable[int]) -> float:
    """Seconds of processor that these processes took, with children of theirs that ended."""
    return sum(_used(pid) for pid in pids)


def _used(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) * _TICK
    except (OSError, ValueError):
        return 0.0
