"""The processes of members that live, and what follows when one ends: told once, and nothing of it left before the next start.

Owns ends, leftovers and the containers that stdio commands leave behind. Knows neither how a process is started nor how it is asked
to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mcpwatch import stdio_container
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, RuntimeEvent, Started
from mcpwatch.runtimes.cgroup import Cgroups
from mcpwatch.runtimes.exit_watch import ExitWatch
from mcpwatch.runtimes.kernel import Features, detect
from mcpwatch.runtimes.oom import OutOfMemory
from mcpwatch.runtimes.port import listened_on
from mcpwatch.runtimes.port_holder import command_name
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.spawn import containers, end_lines
from mcpwatch.runtimes.start_rate import StartRate, StartTurns
from mcpwatch.runtimes.tree import Root, Trees
from mcpwatch.runtimes.usage import UsageMeter
from mcpwatch.urgent import first

END_WAIT = 5.0
"""Seconds to wait for the news of an end after its process was seen gone."""
EXEC_LOOK = 0.05
BACKGROUND_AFTER, BACKGROUND_WAIT = 10.0, 15.0
"""Seconds of life before which an end with code 0 may be that of one that goes into the background, and for what that takes."""
REMEMBER_AFTER = 1.0
"""Seconds after a start when its tree is looked at: a child without our mark that left the session is known by descent then."""

log = logging.getLogger("mcpwatch.process")


@dataclass(slots=True)
class LiveProcess:
    """One incarnation that lives, or whose leftovers are still being ended."""

    record: Record
    root: Root
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    swept: asyncio.Task[None] | None = None
    clean: bool = False
    """Whether nothing of it is left, not even below a dead main process."""
    netted: bool = False
    """Whether all of it was in its cgroup when it was adopted: what came later is there too, and who is not there does not live."""


class LiveProcesses:
    """What is known of the processes of one state directory."""

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
        self._live: dict[str, LiveProcess] = {}
        self._last: dict[str, Record] = {}
        self._started: Mapping[str, Started] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # at most one end per start: as bounded as the fleet
        self._moves: set[asyncio.Task[object]] = set()
        self._start_rate = StartRate()
        self._turns = StartTurns()
        self._remembering: asyncio.Task[None] | None = None
        self._opened = self._closing = False

    def _mains(self) -> dict[str, int]:
        """The main process of every member that lives."""
        return {name: live.root.main[0] for name, live in self._live.items() if live.root.main and not live.ended.is_set()}

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

    def _enter(self, member: str, pid: int) -> None:
        move: asyncio.Task[object] = asyncio.get_running_loop().create_task(asyncio.to_thread(self._cgroups.enter, member, pid))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

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

    async def _let_end(self, live: LiveProcess) -> None:
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
        with first():
            self._events.put_nowait(end)
        if live.record.planned:  # `stop` is at work on the tree, and reaps
            return False
        self._trees.strike(live.root)
        if (live.netted and self._cgroups.empty(member)) or (self._exits.childless(pid) and not self._cgroups.pids(member)):
            live.clean = True
            return True
        live.swept = asyncio.get_running_loop().create_task(self._sweep(live, pid))
        return False

    async def _background(self, live: LiveProcess, pid: int, end: Exited) -> None:
        """One that ended well and at once, and left others: when these begin to listen, it put itself into the background."""
        deadline = time.monotonic() + BACKGROUND_WAIT
        try:
            while left := self._trees.find(live.root, await self._trees.look()):
                ports, who = await asyncio.to_thread(_listens, left)
                if who:
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

    async def _sweep(self, live: LiveProcess, pid: int) -> None:
        """End what an unrequested death left behind, before the next start; then let the corpse go."""
        try:
            await self._trees.kill(live.root)
            live.clean = True
        except RuntimeFailed:
            return  # the next start tries again, and tells
        finally:
            self._exits.reap(pid)

    def _containers_later(self, member: str, but: int | None = None) -> None:
        if not folders(containers(self._directory, member)):
            return
        move: asyncio.Task[object] = asyncio.get_running_loop().create_task(self._remove_containers(member, but))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def _remove_containers(self, member: str, but: int | None = None) -> None:
        """Remove the containers that ended incarnations left behind stdio commands; not those of generation `but`."""
        for folder in folders(containers(self._directory, member)):
            if folder.name != str(but):
                for problem in await asyncio.to_thread(stdio_container.clear, folder):
                    log.warning("%s: %s", member, problem)


def _listens(pids: set[int]) -> tuple[tuple[int, ...], int]:
    """The ports that these processes listen on, and the first of them that does; blocks for as long as the machine has sockets."""
    ports = listened_on(pids)
    return ports, next((one for one in sorted(pids) if listened_on((one,))), 0) if ports else 0


def folders(path: Path) -> list[Path]:
    """The directories in a directory; none where there is none."""
    try:
        names = os.listdir(path)  # noqa: PTH208 - each start and each end looks, and mostly nothing is there
    except OSError:
        return []
    return sorted(item for name in names if (item := path / name).is_dir())
