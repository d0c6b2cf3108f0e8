"""What the kernel alone tells of servers behind one that answers from a memory: that they are stopped or gone.

Asked only where a probe came back that no server behind it answered. It must not know probes, causes or repairs.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcpwatch.watchdog.senses import Senses


class Behind:
    """`frozen`: members of whom processes are stopped. `gone`: servers inside the proxy whose process ended in its present run."""

    def __init__(self, senses: Senses) -> None:
        self.frozen: set[str] = set()
        self.gone: set[str] = set()
        self._senses = senses
        self._pids: dict[str, int] = {}

    def renew(self) -> None:
        """The proxy began: what it runs inside itself did too."""
        self.gone.clear()
        self._pids.clear()

    def look_at(self, mains: Iterable[tuple[str, int]]) -> None:
        """Whether a process below these main processes is stopped."""
        for name, pid in mains:
            if self._senses.stopped(frozenset({pid})):
                self.frozen.add(name)
            else:
                self.frozen.discard(name)

    def answered(self, member: str) -> None:
        """It answered itself what only it can answer: whatever its processes seemed to be, it is there."""
        self.gone.discard(member)
        self._pids.pop(member, None)

    def look_inside(self, member: str, route: str, proxy: int) -> None:
        """Whether the process of a server inside the proxy, which was seen in this run, still lives."""
        known = self._pids.get(member, 0)
        found = self._senses.child(proxy, route, known)
        if found:
            self._pids[member] = found
            self.gone.discard(member)
        elif known:
            self.gone.add(member)
