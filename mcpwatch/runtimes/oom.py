"""Whether the kernel ended a process because memory ran out: asked after a SIGKILL that nobody here sent.

Owns: the kernel's counter of such ends and its log, which names the process. Elsewhere than on Linux nothing is ever known.
Must not know: members.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

COUNTER = Path("/proc/vmstat")
LOG = Path("/dev/kmsg")
RECENT = 60.0
"""Seconds for which a line of the kernel's log speaks of the process that just ended: numbers are used again."""
RECORD_BYTES = 8192
"""Longest record of the kernel's log."""

_NAMES = re.compile(r"(?:oom-kill:.*\bpid=|Killed process )(?P<pid>\d+)\b")


class OutOfMemory:
    """Remembers how many processes the kernel had ended for their memory when it was last asked, and when that last rose."""

    def __init__(self) -> None:
        self._last = ends()
        self._rose = float("-inf")

    def ended(self, pid: int) -> bool:
        """Whether the kernel ended `pid` for its memory. Where its log may not be read, a risen counter is believed."""
        now, before, self._last = time.clock_gettime(time.CLOCK_MONOTONIC), self._last, ends()
        if self._last > before:
            self._rose = now
        if now - self._rose >= RECENT:  # no line can be recent either, and reading them all would hold up the next start
            return False
        lines = log()
        return self._last > before if lines is None else named(lines, pid, now)


def ends() -> int:
    """How many processes the kernel has ended for their memory since it booted; 0 when it does not tell."""
    try:
        text = COUNTER.read_bytes()
    except OSError:
        return 0
    _, found, rest = (b"\n" + text).partition(b"\noom_kill ")
    return int(rest.split(None, 1)[0]) if found else 0


def log() -> list[str] | None:
    """The records of the kernel's log, oldest first; `None` when we may not read it."""
    try:
        file = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    records: list[str] = []
    try:
        while True:
            try:
                record = os.read(file, RECORD_BYTES)
            except BrokenPipeError:
                continue  # overwritten while we read: the next one follows
            if not record:
                return records
            records.append(record.decode("utf-8", "replace"))
    except OSError:  # no more records (EAGAIN)
        return records
    finally:
        os.close(file)


def named(records: list[str], pid: int, now: float) -> bool:
    """Whether a recent record, `<level>,<number>,<microseconds since boot>,…;text`, says that `pid` was ended for its memory."""
    for record in reversed(records):
        head, _, text = record.partition(";")
        match = _NAMES.search(text)
        if match is None or int(match["pid"]) != pid:
            continue
        parts = head.split(",")
        return len(parts) > 2 and parts[2].isdigit() and now - int(parts[2]) / 1e6 < RECENT
    return False
