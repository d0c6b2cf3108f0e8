"""What the kernel alone tells of servers behind one that answers from a memory: that they are stopped or gone.

Asked only where a probe came back that no server behind it answered. It must not know probes, causes or repairs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog.beside import KEPT_MAX, settled
from mcpwatch.watchdog.senses import Senses

LASTS = KEPT_MAX + 2.0
"""Seconds that what runs below a member lives at least: a helper (git, a shell) ends sooner. What was looked up is new by then."""


class Behind:
    """`frozen`: members of whom processes are stopped. `gone`: servers inside the proxy whose process ended in its present run.

    `parents`: members of which something else ran when their present run was proven, and for some time after. `childless`: those of
    which nothing did when one of their runs was proven, each with the fingerprint of what was run.
    """

    def __init__(self, senses: Senses) -> None:
        self.frozen: set[str] = set()
        self.gone: set[str] = set()
        self.parents: set[str] = set()
        self.childless: dict[str, str] = {}
        self._senses = senses
        self._pids: dict[str, int] = {}
        self._run = 0

    def renew(self) -> None:
        """The proxy began: what it runs inside itself did too."""
        self._run += 1
        self.gone.clear()
        self._pids.clear()

    def keep(self, names: AbstractSet[str]) -> None:
        """Only these members are in the plan: what was seen of others is forgotten."""
        self.frozen &= names
        self.gone &= names
        self.parents &= names
        self.childless = {name: what for name, what in self.childless.items() if name in names}
        self._pids = {name: pid for name, pid in self._pids.items() if name in names}

    async def look_at(self, mains: Mapping[str, int]) -> None:
        """Whether a process below these main processes is stopped."""
        stopped = await settled(self._senses, lambda: {one for one in mains if self._senses.stopped(frozenset({mains[one]}))})
        self.frozen = (self.frozen - mains.keys()) | stopped

    async def look_below(self, member: str, main: int, container: str, fingerprint: str) -> None:
        """Whether anything runs below this main process of a member that has just been proven, and goes on to."""
        self.parents.discard(member)
        self.childless.pop(member, None)
        before = await settled(self._senses, lambda: self._senses.below(main, container))
        if before is None:
            return
        if not before:
            self.childless[member] = fingerprint
            return
        await asyncio.sleep(LASTS)
        after = await settled(self._senses, lambda: self._senses.below(main, container))
        if after is not None and before & after:
            self.parents.add(member)

    def runs_none(self, spec: MemberSpec) -> bool:
        """Whether a member was seen to run no other, with what it is run as now."""
        return self.childless.get(spec.name) == spec.fingerprint

    def answered(self, member: str) -> None:
        """It answered itself what only it can answer: whatever its processes seemed to be, it is there."""
        self.gone.discard(member)
        self._pids.pop(member, None)

    async def look_inside(self, member: str, route: str, proxy: int) -> None:
        """Whether the process of a server inside the proxy, which was seen in this run, still lives."""
        known, run = self._pids.get(member, 0), self._run
        found = await settled(self._senses, lambda: self._senses.child(proxy, route, known))
        if run != self._run or known != self._pids.get(member, 0):
            return  # that was of another run, or it answered meanwhile
        if found:
            self._pids[member] = found
            self.gone.discard(member)
        elif known:
            self.gone.add(member)
