"""The process runtime: members as processes of this machine, in a session of their own, that outlive the watchdog.

Owns how a process is started, watched, adopted and ended; must not know why. Members write their output straight into files, death
is learned from a pidfd (children and adopted processes alike), and what a watchdog killed at any moment leaves behind is found
again by record and mark. See `docs/explanation/supervision.md` and ADR 0019.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from mcpwatch import stdio_container
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.ports import Exited, Incarnation, RuntimeEvent
from mcpwatch.runtimes.adoption import FoundProcess, marks_of, recognise, unfinished
from mcpwatch.runtimes.cgroup import Cgroups
from mcpwatch.runtimes.descriptors import keep_to_ourselves
from mcpwatch.runtimes.exit_watch import ExitWatch
from mcpwatch.runtimes.kernel import Features, become_subreaper, detect, signal_group
from mcpwatch.runtimes.oom import OutOfMemory
from mcpwatch.runtimes.port import command_name, listened_on
from mcpwatch.runtimes.process_table import Proc, ProcessSnapshot, ProcessTable, ProcUnreadable
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.spawn import ProcessSpec, containers, end_lines, spawn
from mcpwatch.runtimes.start_rate import StartRate, StartTurns
from mcpwatch.runtimes.tree import Root, Trees
from mcpwatch.runtimes.usage import UsageMeter

END_WAIT = 5.0
"""Seconds to wait for the news of an end after its process was seen gone."""
EXEC_WAIT = 1.0
"""Seconds that a start which the last watchdog did not finish is given to show its mark."""
EXEC_LOOK = 0.05
BACKGROUND_AFTER, BACKGROUND_WAIT = 10.0, 15.0
"""Seconds of life before which an end with code 0 may be that of one that goes into the background, and for what that takes."""
REMEMBER_AFTER = 1.0
"""Seconds after a start when its tree is looked at: a child without our mark that left the session is known by descent then."""

_log = logging.getLogger("mcpwatch.process")


@dataclass(slots=True)
class _Live:
    """One incarnation that lives, or whose leftovers are still being ended."""

    record: Record
    root: Root
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    swept: asyncio.Task[None] | None = None
    clean: bool = False
    """Whether nothing of it is left, not even below a dead main process."""
    netted: bool = False
    """Whether all of it was in its cgroup when it was adopted: what came later is there too, and who is not there does not live."""


class ProcessRuntime:
    """Carries members whose `carrier` is a `ProcessSpec`."""

    name = "process"
    supervision: Literal["ours", "theirs"] = "ours"

    def __init__(self, directory: Path, instance: str, *, features: Features | None = None, runtime: str = "process") -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self.name = runtime
        self._directory = directory
        self._instance = instance
        self._features = features or detect()
        self._table = ProcessTable(self._features)
        self._cgroups = Cgroups(self._features, instance)
        self._trees = Trees(self._table, self._cgroups, self._features, instance)
        self._records = Records(directory, runtime)
        self._exits = ExitWatch(self._table, self._features, self._died)
        self._meter = UsageMeter(self._table)
        self._memory = OutOfMemory()
        self._live: dict[str, _Live] = {}
        self._last: dict[str, Record] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # at most one end per start: as bounded as the fleet
        self._moves: set[asyncio.Task[object]] = set()
        self._start_rate = StartRate()
        self._turns = StartTurns()
        self._remembering: asyncio.Task[None] | None = None
        self._opened = self._closing = False

    # -- ports.Runtime ------------------------------------------------------------------------------------------------

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt what lives and is wanted; end what is ours and is not. What ended while nobody watched is told by `watch`."""
        self._open()
        wanted = {spec.name for spec in specs}
        self._last = self._records.load()
        boot, deadline = self._table.boot(), time.monotonic() + EXEC_WAIT
        while True:
            now = self._table.scan()
            marks = marks_of(now, self._instance)
            if not unfinished(self._last.values(), boot, marks) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(EXEC_LOOK)
        adopted: list[Incarnation] = []
        unwanted: list[Root] = []
        for member in sorted(wanted | set(self._last) | set(marks)):
            record, own = self._last.get(member), marks.get(member, {})
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
        here = {path.name for path in _folders(self._directory / "run" / "containers")}
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
        live = _Live(record, Root(spec.name, (pid, record.ticks)))
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

    def _mains(self) -> dict[str, int]:
        """The main process of every member that lives."""
        return {name: live.root.main[0] for name, live in self._live.items() if live.root.main and not live.ended.is_set()}

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            if self._features.subreaper:
                become_subreaper()
            self._exits.open()
            keep_to_ourselves()

    def _adopt(self, record: Record | None, member: str, found: FoundProcess, boot: str, now: ProcessSnapshot) -> Incarnation:
        pid, ticks = found.main.pid, found.main.ticks
        if record is None or (record.boot, record.generation) != (boot, found.generation):
            record = Record(member, found.generation, boot=boot, started_at=self._table.started_at(ticks))
        if record.pid is None or record.planned:  # planned: the last watchdog was killed while it stopped it, nobody does so now
            record = self._records.note(record, pid=pid, ticks=ticks, planned=False)
        self._last[member] = record
        live = self._live[member] = _Live(record, Root(member, (pid, ticks)))
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
            _log.error("left over: %s", error)
            if wanted:
                live = self._live[root.member] = _Live(Record(root.member, 0), root)
                live.ended.set()

    async def _remember(self) -> None:
        """One look for all that were started lately, beside the loop: a death meanwhile is not behind it."""
        while True:
            await asyncio.sleep(REMEMBER_AFTER)
            new = {name: live for name, live in self._live.items() if not live.root.known and not live.ended.is_set()}
            if not new:
                return
            try:
                taken = await asyncio.to_thread(self._meter.take, {name: pid for name, pid in self._mains().items() if name in new})
            except ProcUnreadable:
                continue
            still = {name: live for name, live in new.items() if not live.ended.is_set()}
            self._meter.keep(replace(taken, samples={name: one for name, one in taken.samples.items() if name in still}))
            for live in still.values():
                self._trees.find(live.root, taken.tree)

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

    def _enter(self, member: str, pid: int) -> None:
        move: asyncio.Task[object] = asyncio.get_running_loop().create_task(asyncio.to_thread(self._cgroups.enter, member, pid))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def _ask(self, live: _Live, number: signal.Signals, deadline: float) -> None:
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

    async def _until_ended(self, live: _Live, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await live.ended.wait()
        except TimeoutError:
            return False
        return True

    async def _clear(self, member: str) -> None:
        """Nothing of an earlier incarnation may live when the next one starts."""
        live = self._live.get(member)
        if live is None:
            return
        if live.swept:
            await asyncio.wait((live.swept,))
        if not live.clean:
            await self._trees.kill(live.root)
            await self._let_end(live)
        del self._live[member]

    async def _let_end(self, live: _Live) -> None:
        """Its tree is gone: hear of the end, then let go of the corpse that kept its number."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(live.ended.wait(), END_WAIT)
        if live.record.pid is not None:
            self._exits.reap(live.record.pid)

    def _died(self, member: str, pid: int, code: int | None, number: int | None) -> bool:
        """An end, as `ExitWatch` saw it. True when nothing of the tree is left, so that the corpse may be reaped at once."""
        live = self._live.get(member)
        if live is None or live.record.pid != pid:
            return True
        live.record = self._last[member] = self._records.note(live.record, ended=True)
        live.ended.set()
        end_lines(self._directory, member)
        self._meter.forget(member)
        detail = (
            "" if code is not None or number is not None else "exit status unknown: it was adopted and this kernel does not tell"
        )
        oom = number == signal.SIGKILL and not live.record.planned and self._memory.ended(pid)
        end = Exited(member, live.record.generation, code, number, oom=oom, detail=detail)
        if not live.record.planned:
            self._containers_later(member)
            young = time.time() - live.record.started_at < BACKGROUND_AFTER
            if code == 0 and young and not self._exits.childless(pid):
                live.swept = asyncio.get_running_loop().create_task(self._background(live, pid, end))
                return False
        self._events.put_nowait(end)
        if live.record.planned:  # `stop` is at work on the tree, and reaps
            return False
        self._trees.strike(live.root)
        if (live.netted and self._cgroups.empty(member)) or (self._exits.childless(pid) and not self._cgroups.pids(member)):
            live.clean = True
            return True
        live.swept = asyncio.get_running_loop().create_task(self._sweep(live, pid))
        return False

    async def _background(self, live: _Live, pid: int, end: Exited) -> None:
        """One that ended well and at once, and left others: when these begin to listen, it put itself into the background."""
        deadline = time.monotonic() + BACKGROUND_WAIT
        try:
            while left := self._trees.find(live.root, await self._trees.look()):
                ports = listened_on(left)
                if who := next((one for one in sorted(left) if listened_on((one,))), 0) if ports else 0:
                    where = f"{command_name(who)} (pid {who}), which it started, listens on port {', '.join(map(str, ports))}"
                    end = replace(end, detail=f"it put itself into the background: {where}; it is ended with it", final=True)
                    break
                if time.monotonic() >= deadline or live.record.planned or self._closing:
                    break
                await asyncio.sleep(EXEC_LOOK)
        except ProcUnreadable:
            pass
        self._events.put_nowait(end)
        self._trees.strike(live.root)
        await self._sweep(live, pid)

    def _containers_later(self, member: str, but: int | None = None) -> None:
        if not _folders(containers(self._directory, member)):
            return
        move: asyncio.Task[object] = asyncio.get_running_loop().create_task(self._remove_containers(member, but))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def _remove_containers(self, member: str, but: int | None = None) -> None:
        """Remove the containers that ended incarnations left behind stdio commands; not those of generation `but`."""
        folders = _folders(containers(self._directory, member))
        for folder in folders:
            if folder.name != str(but):
                for problem in await asyncio.to_thread(stdio_container.clear, folder):
                    _log.warning("%s: %s", member, problem)

    async def _sweep(self, live: _Live, pid: int) -> None:
        """End what an unrequested death left behind, before the next start; then let the corpse go."""
        try:
            await self._trees.kill(live.root)
            live.clean = True
        except RuntimeFailed:
            return  # the next start tries again, and tells
        finally:
            self._exits.reap(pid)


def _folders(path: Path) -> list[Path]:
    try:
        names = os.listdir(path)  # noqa: PTH208 - each start and each end looks, and mostly nothing is there
    except OSError:
        return []
    return sorted(item for name in names if (item := path / name).is_dir())


def _signal_group(pid: int, number: signal.Signals) -> None:
    """To the group of a session leader that is ours; SIGCONT after it, so that a stopped process hears it too."""
    if signal_group(pid, number):
        signal_group(pid, signal.SIGCONT)


def _incarnation(record: Record) -> Incarnation:
    return Incarnation(record.member, record.generation, record.fingerprint, pid=record.pid, started_at=WallTime(record.started_at))
