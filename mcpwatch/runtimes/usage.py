"""What members use: one sample of the whole machine for all of them, at most every few seconds, and only when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable, Sample

EVERY = 5.0
"""Seconds for which a sample is good."""


class Meter:
    """Keeps the latest sample of each member's tree."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._at = float("-inf")
        self._main: dict[str, int] = {}
        self._samples: dict[str, tuple[float, Sample, float]] = {}  # when, what, percent of a core

    def look(self, member: str, mains: Callable[[], Mapping[str, int]]) -> Usage | None:
        """What a member uses. `mains` (name to main pid) is asked for only when its sample is old or of another process."""
        fresh = time.monotonic() - self._at < EVERY
        if not fresh or member not in self._samples:
            self._refresh(mains(), fresh=fresh)
        return self.usage(member)

    def _refresh(self, mains: Mapping[str, int], *, fresh: bool) -> None:
        """Sample all again if the last sample is old, else those that are new."""
        now = time.monotonic()
        todo = {member: pid for member, pid in mains.items() if not fresh or self._main.get(member) != pid}
        if not todo:
            return
        if not fresh:
            self._at = now
        try:
            tree = self._table.scan()
        except ProcUnreadable:
            return  # the last samples stay
        for member, pid in todo.items():
            new = self._main.get(member) != pid
            self._main[member] = pid
            taken = self._table.sample(tree, pid)
            before = None if new else self._samples.get(member)
            seconds = max(0.0, taken.cpu_seconds - before[1].cpu_seconds) if before else 0.0
            percent = 100.0 * seconds / (now - before[0]) if before and now > before[0] else 0.0
            self._samples[member] = (now, taken, percent)

    def usage(self, member: str) -> Usage | None:
        """The latest sample of a member, or `None`."""
        if member not in self._samples:
            return None
        _, taken, percent = self._samples[member]
        started = WallTime(taken.started_at) if taken.started_at else None
        return Usage(
            pid=self._main[member],
            started_at=started,
            cpu=round(percent, 2),
            cpu_seconds=taken.cpu_seconds,
            rss=taken.rss,
            fds=taken.fds,
            processes=taken.processes,
        )

    def forget(self, member: str) -> None:
        """Drop what is known of an incarnation that ended."""
        self._samples.pop(member, None)
        self._main.pop(member, None)
