"""Which living process is a member's: told from its record and from the marks in one snapshot. Pure.

A record names the process; a mark names the member. Where the record is missing (broken, of another version, deleted, or never
written because the disk was full) the store tells which process was started last; where it does not, the mark alone is enough to
take a member over: a lost file must not cost a living one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcpwatch.model.incarnation import Started
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.record import Record

Marks = Mapping[str, Mapping[int, int]]
"""Member to pid to generation."""


@dataclass(frozen=True, slots=True)
class FoundProcess:
    """The main process of a member, and the generation that it is."""

    main: Proc
    generation: int


def marks_of(now: ProcessSnapshot, instance: str) -> dict[str, dict[int, int]]:
    """Every living process that carries a mark of this instance."""
    found: dict[str, dict[int, int]] = {}
    for proc in now.procs.values():
        owner, _, rest = proc.mark.partition("/")
        member, _, generation = rest.rpartition("/")
        if owner == instance and generation.isdecimal() and proc.alive:
            found.setdefault(member, {})[proc.pid] = int(generation)
    return found


def recognise(record: Record | None, boot: str, marks: Mapping[int, int], now: ProcessSnapshot, ours: str) -> FoundProcess | None:
    """The member's main process, or `None` when none lives. `marks` are its own; `ours` is `<instance>/<member>/`."""
    if record is not None and record.boot != boot:
        record = None  # what it names died with its machine
    if record is not None and record.pid is not None and not record.ended:
        proc = now.procs.get(record.pid)
        # A program may overwrite its environment (setproctitle), so a missing mark is no proof against it; another's mark is.
        if proc and proc.alive and proc.ticks == record.ticks and proc.mark in ("", f"{ours}{record.generation}"):
            return FoundProcess(proc, record.generation)
    intended = record is not None and record.pid is None and not record.ended
    least = 0 if record is None else record.generation if intended else record.generation + 1
    return _eldest((pid for pid, generation in marks.items() if generation >= least), marks, now)


def rebuilt(record: Record | None, started: Started, member: str, boot: str, now: ProcessSnapshot, ours: str) -> Record | None:
    """A record of the start that the store knows and `record` does not; `None` where the record will do, or nothing can be told.

    Without it, what a dead main process left behind would be taken for it, for it carries the same mark.
    """
    if record is not None and record.boot == boot and record.generation >= started.generation:
        return None
    if record is not None and (record.generation, record.pid) == (started.generation, started.pid):
        return None  # the same start, on an earlier run of this machine: its end is still to be told
    proc = now.procs.get(started.pid)
    if proc is not None and proc.alive and proc.mark == "":
        return None  # it may have thrown its environment away, or be a stranger with the number
    lives = proc is not None and proc.alive and proc.mark == f"{ours}{started.generation}"
    ticks = proc.ticks if proc is not None and lives else 0
    return Record(member, started.generation, started.fingerprint, boot, started.pid, ticks, ended=not lives)


def unfinished(last: Iterable[Record], boot: str, marks: Marks) -> bool:
    """Whether a recorded start was cut off and nobody carries its mark yet: its process may stand between fork and exec."""
    return any(
        record.boot == boot
        and record.pid is None
        and not record.ended
        and record.generation not in marks.get(record.member, {}).values()
        for record in last
    )


def _eldest(pids: Iterable[int], marks: Mapping[int, int], now: ProcessSnapshot) -> FoundProcess | None:
    """The first process of the newest generation that leads a session, as every main process does, and is nobody's guest."""
    leaders = [now.procs[pid] for pid in pids if now.procs[pid].sid == pid and not now.procs[pid].hosted]
    if not leaders:
        return None
    main = min(leaders, key=lambda proc: (-marks[proc.pid], proc.ticks, proc.pid))
    return FoundProcess(main, marks[main.pid])
