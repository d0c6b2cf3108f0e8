"""The process runtime: members as processes of this machine, in a session of their own, that outlive the watchdog.

Owns how a process is started, watched, adopted and ended; must not know why. Members write their output straight into files, death
is learned from a pidfd (children and adopted processes alike), and what a watchdog killed at any moment leaves behind is found
again by record and mark. See `docs/explanation/supervision.md` and ADR 0019.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import unquote

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Incarnation, RuntimeEvent, Started
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.adoption import FoundProcess, marks_of, rebuilt, recognise, unfinished
from mcpwatch.runtimes.descriptors import keep_to_ourselves
from mcpwatch.runtimes.kernel import become_subreaper, signal_group
from mcpwatch.runtimes.live_processes import EXEC_LOOK, LiveProcess, LiveProcesses, folders, log
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcUnreadable
from mcpwatch.runtimes.record import Record
from mcpwatch.runtimes.spawn import ProcessSpec, spawn
from mcpwatch.runtimes.tree import Root

EXEC_WAIT = 1.0
"""Seconds that a start which the last watchdog did not finish is given to show its mark."""


class ProcessRuntime(LiveProcesses):
    """Carries members whose `carrier` is a `ProcessSpec`."""

    # -- ports.Runtime ------------------------------------------------------------------------------------------------

    def remind(self, started: Mapping[str, Started]) -> None:
        """As `ports.Reminded`."""
        self._started = started

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt what lives and is wanted; end what is ours and is not. What ended while nobody watched is told by `watch`."""
        self._open()
        wanted = {spec.name for spec in specs}
        self._last = self._records.load()
        boot, deadline = self._table.boot(), time.monotonic() + EXEC_WAIT
        while True:
            now = await self._trees.take()
            marks = marks_of(now, self._instance)
            if not unfinished(self._last.values(), boot, marks) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(EXEC_LOOK)
        adopted: list[Incarnation] = []
        unwanted: list[Root] = []
        for member in sorted(wanted | set(self._last) | set(marks)):
            record, own = self._recorded(member, boot, now), marks.get(member, {})
            found = recognise(record, boot, own, now, f"{self._instance}/{member}/")
            if found is not None and member in wanted:
                adopted.append(self._adopt(record, member, found, boot, now))
                older = {pid for pid, other in own.items() if found.main.pid in own and other != found.generation}
                self._trees.tell(older, now, signal.SIGKILL)
                continue
            if found is not None or own or self._cgroups.pids(member):
                unwanted.append(Root(member, (found.main.pid, found.main.ticks) if found is not None else None))
            self._settle(record, wanted=member in wanted)
        await asyncio.gather(*(self._end(root, wanted=root.member in wanted) for root in unwanted))
        here = {path.name for path in folders(self._directory / "run" / "containers")}
        for member in (unquote(name) for name in here):
            self._containers_later(member, but=next((one.generation for one in adopted if one.member == member), None))
        return tuple(adopted)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Start the next incarnation: leftovers ended, intent recorded, process spawned, identity recorded."""
        self._open()
        carrier = spec.carrier
        if not isinstance(carrier, ProcessSpec):
            raise RuntimeFailed(f"{spec.name}: not a process ({type(carrier).__name__})", permanent=True)
        await self._clear(spec.name)
        await self._remove_containers(spec.name)
        self._start_rate, pause = self._start_rate.take(asyncio.get_running_loop().time())
        if pause:
            await asyncio.sleep(pause)
        await self._turns.take()
        return self._start(spec, carrier, generation)

    def _start(self, spec: MemberSpec, carrier: ProcessSpec, generation: int) -> Incarnation:
        previous = self._last.get(spec.name)
        restarts = 0 if previous is None else previous.restarts + (0 if previous.planned else 1)
        record = self._records.write(
            Record(spec.name, generation, spec.fingerprint, self._table.boot(), started_at=time.time(), restarts=restarts)
        )
        self._last[spec.name] = record
        mark = f"{self._instance}/{spec.name}/{generation}"
        try:
            pid = spawn(spec.name, carrier, mark, self._directory)
        except RuntimeFailed:
            self._last[spec.name] = self._records.note(record, ended=True)
            raise
        proc = self._seen(pid)
        record = self._records.note(record, pid=pid, ticks=proc.ticks if proc else 0)
        live = LiveProcess(record, Root(spec.name, (pid, record.ticks)))
        self._last[spec.name], self._live[spec.name] = record, live
        if self._cgroups.usable:
            self._enter(spec.name, pid)
        self._exits.follow(spec.name, pid, record.ticks, child=True)
        if self._remembering is None or self._remembering.done():
            self._remembering = asyncio.get_running_loop().create_task(self._remember())
        return _incarnation(record)

    def number(self, living: Incarnation) -> None:
        """Nothing appears by itself here: every start is asked for, with its number."""

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """The ladder: stop signal to the group, the set until `grace`, then SIGKILL to whoever is left of it."""
        self._open()
        live = self._live.get(spec.name)
        if live is None:
            await self._trees.kill(Root(spec.name))
            await self._remove_containers(spec.name)
            return
        live.record = self._last[spec.name] = self._records.note(live.record, planned=True)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        carrier = spec.carrier
        number = signal.Signals[carrier.stop_signal] if isinstance(carrier, ProcessSpec) else signal.SIGTERM
        await self._ask(live, number, deadline)
        await self._trees.kill(live.root)
        if live.swept:
            await asyncio.gather(live.swept, return_exceptions=True)
        await self._let_end(live)
        await self._remove_containers(spec.name)
        if self._live.get(spec.name) is live:
            del self._live[spec.name]

    async def resume(self, spec: MemberSpec) -> None:
        """SIGCONT to whoever of its tree is stopped."""
        live = self._live.get(spec.name)
        if live is not None:
            now = await self._trees.look()
            stopped = {pid for pid in self._trees.find(live.root, now) if now.procs[pid].state in ("T", "t")}
            self._trees.tell(stopped, now, signal.SIGCONT)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end of every incarnation, exactly once, as it happens."""
        while True:
            yield await self._events.get()

    def usage(self, member: str) -> Usage | None:
        """What the member's whole tree uses; sampled for all members at once, at most every few seconds."""
        return self._meter.look(member, self._mains)

    async def close(self) -> None:
        """Stop watching. Members live on."""
        self._closing = True
        sweeps = [live.swept for live in self._live.values() if live.swept]
        await asyncio.gather(*sweeps, *self._moves, return_exceptions=True)
        self._exits.close()
        if self._remembering is not None:
            self._remembering.cancel()
        self._live.clear()
        self._trees.close()
        self._cgroups.close()

    # -- beyond the port: what a restarted watchdog may ask ------------------------------------------------------------

    def latest(self) -> Mapping[str, Record]:
        """The latest record of every member, dead or alive: its generation and restarts outlive the watchdog."""
        return dict(self._last)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _seen(self, pid: int) -> Proc | None:
        """A process of ours; `None` also when nothing can be seen now: its mark will do."""
        try:
            return self._table.look(pid)
        except ProcUnreadable:
            return None

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            if self._features.subreaper:
                become_subreaper()
            self._exits.open()
            keep_to_ourselves()

    def _recorded(self, member: str, boot: str, now: ProcessSnapshot) -> Record | None:
        """The member's record; where the store knows a later start, the record of that one."""
        record, started = self._last.get(member), self._started.get(member)
        late = rebuilt(record, started, member, boot, now, f"{self._instance}/{member}/") if started is not None else None
        if late is None:
            return record
        self._last[member] = self._records.note(late)  # the found one's moment of start is noted when it is adopted
        return late

    def _adopt(self, record: Record | None, member: str, found: FoundProcess, boot: str, now: ProcessSnapshot) -> Incarnation:
        pid, ticks = found.main.pid, found.main.ticks
        if record is None or (record.boot, record.generation) != (boot, found.generation):
            record = Record(member, found.generation, boot=boot)
        if record.pid is None or record.planned or not record.started_at:
            # planned: the last watchdog was killed while it stopped it, nobody does so now
            since = record.started_at or self._table.started_at(ticks)
            record = self._records.note(record, pid=pid, ticks=ticks, planned=False, started_at=since)
        self._last[member] = record
        live = self._live[member] = LiveProcess(record, Root(member, (pid, ticks)))
        everyone = self._trees.find(live.root, now)  # whoever left its session and has no mark is known from here on
        inside = self._cgroups.pids(member)
        live.netted = bool(everyone) and everyone <= inside
        if self._cgroups.usable and pid not in inside:
            self._enter(member, pid)
        # After an upgrade in place the adopted process is our own child, and its corpse ours to collect.
        self._exits.follow(member, pid, ticks, child=found.main.ppid == os.getpid())
        return _incarnation(record)

    async def _end(self, root: Root, *, wanted: bool) -> None:
        """End what an earlier watchdog left. What cannot be ended is told, and kept in mind: no other is started beside it."""
        try:
            await self._trees.kill(root)
        except RuntimeFailed as error:
            log.error("left over: %s", error)
            if wanted:
                live = self._live[root.member] = LiveProcess(Record(root.member, 0), root)
                live.ended.set()

    def _settle(self, record: Record | None, *, wanted: bool) -> None:
        """A recorded member that is not alive any more: told once if it was wanted, forgotten if not."""
        if record is None:
            return
        if not wanted:
            self._records.drop(record.member)
            self._last.pop(record.member, None)
        elif not record.ended:
            self._last[record.member] = self._records.note(record, ended=True)
            self._events.put_nowait(Exited(record.member, record.generation, detail="ended while no watchdog was watching"))

    async def _ask(self, live: LiveProcess, number: signal.Signals, deadline: float) -> None:
        """Ask the group, then, once the main process is gone, whoever of the set did not hear it."""
        now = await self._trees.look()
        everyone = self._trees.find(live.root, now)
        main = live.root.main
        if main and now.has(*main):
            _signal_group(main[0], number)
        else:
            self._trees.tell(everyone, now, number)
        if await self._until_ended(live, deadline):
            now = await self._trees.look()
            if left := self._trees.find(live.root, now):
                self._trees.tell(left, now, number)
                await self._trees.empty(live.root, deadline)

    async def _until_ended(self, live: LiveProcess, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await live.ended.wait()
        except TimeoutError:
            return False
        return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    """To the group of a session leader that is ours; SIGCONT after it, so that a stopped process hears it too."""
    if signal_group(pid, number):
        signal_group(pid, signal.SIGCONT)


def _incarnation(record: Record) -> Incarnation:
    return Incarnation(record.member, record.generation, record.fingerprint, pid=record.pid, started_at=WallTime(record.started_at))
