"""Whether a member's processes are stopped (state T): by SIGSTOP, a debugger, a terminal; and letting them run again.

Keeps its process table between calls, so that an environment is read once and not at every diagnosis, and what it saw for a moment:
a diagnosis may come many times a second. It must not know members.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from mcpwatch.runtimes.kernel import Features, detect, send_signal
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable

KEPT = 1.0
"""Seconds for which what was seen of the same processes counts."""


class StopWatch:
    """Looks when asked, and not otherwise. `now` is in seconds and never steps back."""

    def __init__(self, features: Features | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._table = ProcessTable(features or detect())
        self._now = now
        self._seen = ProcessSnapshot({})
        self._seen_of: frozenset[int] = frozenset()
        self._until = 0.0

    def stopped(self, pids: frozenset[int]) -> frozenset[int]:
        """Which of these main processes are stopped, or have a stopped process below them that serves no other member.

        The answer may be `KEPT` seconds old, but never older than the first question about one of these processes.
        """
        if not pids:
            return frozenset()
        if self._now() >= self._until or not pids <= self._seen_of:
            try:
                self._look()
            except ProcUnreadable:
                return frozenset()
            self._seen_of = pids
        seen = self._seen
        return frozenset(pid for pid in pids if any(seen.procs[one].state in ("T", "t") for one in seen.of_member(pid)))

    def of_member(self, pid: int) -> list[int]:
        """A living main process and what is below it that serves no other member, seen within `KEPT` seconds, in order.

        Raises `ProcUnreadable`.
        """
        if self._now() >= self._until or pid not in self._seen.procs:
            self._look()
        return sorted(self._seen.of_member(pid))

    def _look(self) -> None:
        self._seen, self._until = self._table.scan(), self._now() + KEPT


def resume_tree(table: ProcessTable, main: int) -> None:
    """SIGCONT to whoever is stopped of a main process and what is below it."""
    try:
        now = table.scan()
    except ProcUnreadable:
        return
    for pid in now.of_member(main):
        if now.procs[pid].state in ("T", "t"):
            send_signal(pid, signal.SIGCONT)


def in_cgroup(pid: int, name: str) -> bool:
    """Whether a process of this machine is in a cgroup of that name: the pid that an engine tells may be of another machine."""
    try:
        return name in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return False
