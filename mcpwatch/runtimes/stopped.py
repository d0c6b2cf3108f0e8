"""Whether a member's processes are stopped (state T): by SIGSTOP, a debugger, a terminal. What a hung member may be.

Keeps its process table between calls, so that an environment is read once and not at every diagnosis. It must not know members.
"""

from __future__ import annotations

from mcpwatch.runtimes.kernel import Features, detect
from mcpwatch.runtimes.table import Table


class StopWatch:
    """Looks when asked, and not otherwise."""

    def __init__(self, features: Features | None = None) -> None:
        self._table = Table(features or detect())

    def stopped(self, pids: frozenset[int]) -> frozenset[int]:
        """Which of these main processes are stopped, or have a stopped process below them that serves no other member."""
        if not pids:
            return frozenset()
        now = self._table.scan()
        return frozenset(pid for pid in pids if any(now.procs[one].state in ("T", "t") for one in now.of_member(pid)))
