"""How many files the processes of a member have open, beside how many they may. Linux only; elsewhere nothing is ever seen."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mcpwatch.runtimes.port import family

NEARLY = 0.98
"""Share of its limit from which on a process has no more to speak of: what it closes, the next connection takes."""
_LIMIT = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)


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
