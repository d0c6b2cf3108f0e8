"""What members use: one sample of the whole machine for all of them, at most every few seconds, and only when somebody asks.

Beside that, on Linux, who has as many files open as it may.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.port import family
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.process_usage import UsageSample

EVERY = 5.0
"""Seconds for which a sample is good."""
RECENT = 60.0
"""Seconds after which a sample is too old to be shown while the next is taken."""
NEARLY = 0.98
"""Share of its limit from which on a process has no more to speak of: what it closes, the next connection takes."""
_LIMIT = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Taken:
    """One look: when, the machine, and of each member its main process and what its tree uses."""

    at: float
    tree: ProcessSnapshot
    samples: Mapping[str, tuple[int, UsageSample]]


class UsageMeter:
    """Keeps the latest sample of each member's tree."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._at = float("-inf")
        self._main: dict[str, int] = {}
        self._samples: dict[str, tuple[float, UsageSample, float]] = {}  # when, what, percent of a core
        self._ended: set[str] | None = None
        """Members that ended since a look beside the loop began; `None`: none is under way."""
        self._kept_at = float("-inf")
        """When the samples were kept: a look that failed makes them no younger."""

    def look(self, member: str, mains: Callable[[], Mapping[str, int]]) -> Usage | None:
        """What a member uses, `None` while that is not known. `mains`: the main process of each member.

        Who asks again and again is told the last sample while the next is taken beside the loop: it takes long where many run,
        and there who asks for the first time in a while is told at the next.
        """
        age = time.monotonic() - self._at
        if age >= RECENT and self._table.light is not False:
            self._refresh(mains())
        elif self._ended is None and (age >= EVERY or (member not in self._samples and member in mains())):
            self._refresh_beside(mains())
        return None if time.monotonic() - self._kept_at >= RECENT else self.usage(member)

    def _refresh(self, mains: Mapping[str, int]) -> None:
        if mains:
            self._at = time.monotonic()
            with contextlib.suppress(ProcUnreadable):  # the last samples stay
                self.keep(self.take(mains))

    def _refresh_beside(self, mains: Mapping[str, int]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._refresh(mains)
            return
        self._at, self._ended = time.monotonic(), set()
        taken = loop.run_in_executor(None, self.take, mains)
        taken.add_done_callback(self._beside_taken)

    def _beside_taken(self, done: asyncio.Future[Taken]) -> None:
        ended, self._ended = self._ended or set[str](), None
        if not done.cancelled() and done.exception() is None:
            taken = done.result()
            self.keep(replace(taken, samples={name: one for name, one in taken.samples.items() if name not in ended}))

    def take(self, mains: Mapping[str, int]) -> Taken:
        """Look at the machine now: for any thread. Raises `ProcUnreadable`."""
        at, tree = time.monotonic(), self._table.scan()
        return Taken(at, tree, {member: (pid, self._table.sample(tree, pid)) for member, pid in mains.items()})

    def keep(self, taken: Taken) -> None:
        """What was taken is the latest from now on. In the loop's thread."""
        self._kept_at = taken.at
        for member, (pid, now) in taken.samples.items():
            before = self._samples.get(member) if self._main.get(member) == pid else None
            seconds = max(0.0, now.cpu_seconds - before[1].cpu_seconds) if before else 0.0
            percent = 100.0 * seconds / (taken.at - before[0]) if before and taken.at > before[0] else 0.0
            self._main[member], self._samples[member] = pid, (taken.at, now, percent)

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
        if self._ended is not None:
            self._ended.add(member)


def exhausted(pid: int) -> str:
    """`1024 of 1024 are open (pid 7)` for the first process at its limit, the main one before those below it; else empty."""
    told = (_full(one) for one in sorted(family(pid), key=lambda one: (one != pid, one)))
    return next((words for words in told if words), "")


def _full(pid: int) -> str:
    try:
        found = _LIMIT.search(Path(f"/proc/{pid}/limits").read_text(encoding="ascii"))
        count = len(os.listdir(f"/proc/{pid}/fd")) if found else 0  # noqa: PTH208 - names alone are wanted
    except OSError:
        return ""
    return f"{count} of {found[1]} are open (pid {pid})" if found and count >= int(found[1]) * NEARLY else ""
