"""Whole trees: everything a member started, found by descent, session, mark, cgroup and memory, and ended to the last process.

The rule of this file: never a signal to a process that is not provably ours. Proof is one of: it descends from, or shares the
session of, a process whose identity (pid, start ticks) is verified in the same snapshot; it carries our mark; it sits in
our cgroup; its identity was seen in the tree before. Ourselves and what we descend from are never touched, whatever the proof.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.cgroup import Cgroups
from mcpwatch.runtimes.kernel import Features, open_pidfd, send_signal, signal_group
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.shared_scan import SharedScan

ROUNDS = 60
"""Scans after which what still lives cannot be killed (about 1.5 s)."""
CALM, RESTLESS = 3, 12
"""Scans in a row that must find nobody; more where new processes were seen to come, or where a scan is not whole: each may live too
briefly for most scans."""
FRESH, FRESH_MOST = 0.1, 5.0
"""Seconds for which a number seen in a scan is nobody else's: the kernel gives out all the others before it gives one again. Up to
the second, where it tells how many it gave out since: a machine that is busy for a second gives out few."""
SHARE_GIVEN = 4
"""One of so many numbers may have been given out since then: what failed to start had one too, and is not counted."""
PAUSE = (0.002, 0.05)
"""First and longest pause between two looks at a set that should become empty."""

Identity = tuple[int, int]


@dataclass(slots=True)
class Root:
    """Where a member's tree hangs. `main` is the first process (dead or alive), `known` every identity ever seen in the tree."""

    member: str
    main: Identity | None = None
    known: set[Identity] = field(default_factory=set[Identity])


class Trees:
    """Finds and ends trees. One per runtime; scans are shared between callers."""

    def __init__(self, table: ProcessTable, cgroups: Cgroups, features: Features, instance: str) -> None:
        self._table = table
        self._cgroups = cgroups
        self._features = features
        self._instance = instance
        self._scans = SharedScan(table)

    async def look(self) -> ProcessSnapshot:
        """A snapshot that was begun after this call. Raises `ProcUnreadable`."""
        return await self._scans.look()

    async def take(self) -> ProcessSnapshot:
        """The same at once, shared with nobody, and not tried again."""
        return await self._scans.take()

    def close(self) -> None:
        """Look no more."""
        self._scans.close()

    def find(self, root: Root, now: ProcessSnapshot) -> set[int]:
        """Everyone of the member's tree alive in this snapshot, its main process included. Remembers their identities."""
        seeds = {proc.pid for proc in now.marked.get(f"{self._instance}/{root.member}", ())}
        seeds |= {pid for pid in self._cgroups.pids(root.member) if pid in now.procs}
        seeds |= {pid for pid, ticks in root.known if now.has(pid, ticks)}
        if root.main and (main := now.procs.get(root.main[0])) and main.ticks == root.main[1]:
            # Alive or an unreaped zombie: its number, and so its session's, is pinned and cannot be another's.
            seeds.add(main.pid)
            seeds |= {proc.pid for proc in now.sessions.get(main.pid, ())}
        never = _untouchable(now)
        found = {pid for pid in now.descend(seeds - never) if (proc := now.procs.get(pid)) and proc.alive} - never
        root.known = {(pid, now.procs[pid].ticks) for pid in found}
        return found

    async def empty(self, root: Root, deadline: float) -> bool:
        """Wait until nobody of the tree lives, at most until `deadline` on the loop's clock."""
        loop = asyncio.get_running_loop()
        pause = PAUSE[0]
        while True:
            if not self.find(root, await self.look()):
                return True
            if loop.time() + pause > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE[1])

    def tell(self, pids: Iterable[int], now: ProcessSnapshot, number: signal.Signals) -> None:
        """Send a signal to exactly these processes of this snapshot, by pidfd, each identity verified."""
        for pid in pids:
            self._send(now.procs[pid], number)

    async def kill(self, root: Root) -> None:
        """End the whole tree now. Returns when some scans in a row find nobody; raises `RuntimeFailed` when that cannot be had."""
        nobody, calm = 0, CALM
        left: set[int] = set()
        now = await self.look()
        for round_ in range(ROUNDS):
            before, left = left, self.find(root, now)
            nobody = 0 if left else nobody + 1
            if before and left - before:
                calm = RESTLESS
            if nobody >= (calm if now.whole else RESTLESS):
                await asyncio.to_thread(self._cgroups.remove, root.member)
                return
            self.strike(root)
            if left:
                self._cgroups.kill(root.member)
                self._strike_groups(left, now)
                self.tell(left, now, signal.SIGKILL)
                await asyncio.sleep(min(PAUSE[0] * (round_ + 1), PAUSE[1]))
            now = await self.look()
        who = ", ".join(f"{pid} (state {now.procs[pid].state})" for pid in sorted(left) if pid in now.procs)
        raise RuntimeFailed(f"{root.member}: cannot be killed: {who or 'it starts new processes faster than they die'}")

    def strike(self, root: Root) -> None:
        """SIGKILL to the whole group of the main process, alive or a zombie: no fork outruns a signal to a group."""
        seen = self._seen(root.main[0]) if root.main else None
        if seen and root.main == (seen.pid, seen.ticks) and seen.group == seen.pid:
            signal_group(seen.pid, signal.SIGKILL)

    def _strike_groups(self, pids: set[int], now: ProcessSnapshot) -> None:
        """SIGKILL to every group of these processes in which no settled process was a stranger in this snapshot, a fresh one.

        A group lies within one session, and nobody gets into a session from without.
        """
        if not self._fresh(now):
            return
        for group in {now.procs[pid].group for pid in pids} - {0, 1, os.getpgrp()}:
            others = (proc for proc in now.groups.get(group, ()) if proc.alive and proc.pid not in pids)
            if not any(proc.ticks < now.young for proc in others):
                signal_group(group, signal.SIGKILL)

    def _fresh(self, now: ProcessSnapshot) -> bool:
        """Whether no number of this snapshot can be another's by now."""
        age = time.monotonic() - now.at
        if age <= FRESH:
            return True
        if age > FRESH_MOST or now.forks is None or (forks := self._table.forks()) is None:
            return False
        return (forks - now.forks) * SHARE_GIVEN < self._table.numbers()

    def _send(self, proc: Proc, number: signal.Signals) -> None:
        if not self._features.pidfd:
            seen = self._seen(proc.pid)
            if seen and seen.ticks == proc.ticks:
                send_signal(proc.pid, number)
            return
        pidfd = open_pidfd(proc.pid)
        if pidfd is None:
            return
        try:  # the pidfd is held before the identity is read, so the number cannot change hands in between
            seen = self._seen(proc.pid)
            if seen and seen.ticks == proc.ticks:
                send_signal(proc.pid, number, pidfd)
        finally:
            os.close(pidfd)

    def _seen(self, pid: int) -> Proc | None:
        """One process; `None` also when nothing can be seen now: who is not verified gets no signal."""
        try:
            return self._table.look(pid)
        except ProcUnreadable:
            return None


def _untouchable(now: ProcessSnapshot) -> set[int]:
    """Ourselves, everything we descend from, and the first process of the machine."""
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        proc = now.procs.get(pid)
        pid = proc.ppid if proc else 1
    return found
