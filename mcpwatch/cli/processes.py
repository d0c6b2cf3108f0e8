"""Processes of this machine as the kernel shows them, for drills: families, listening ports, a small memory to run out of.

Reads and writes `/proc` and `/sys/fs/cgroup`. Must not know: members or faults.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcpwatch.runtimes.port import SocketTables, listened_on

_CGROUPS = Path("/sys/fs/cgroup")


def family(pid: int) -> tuple[int, ...]:
    """A process and all its descendants, by the kernel's own table."""
    below = _listed if Path(f"/proc/self/task/{os.getpid()}/children").exists() else _scanned().__getitem__
    found, queue = list[int](), [pid]
    while queue:
        found.append(queue.pop())
        queue += below(found[-1])
    return tuple(found)


def _listed(pid: int) -> list[int]:
    """The children of a process, where the kernel lists them."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in listing.read_text(encoding="ascii").split()]
    return found


def _scanned() -> defaultdict[int, list[int]]:
    """The children of every process, by asking each for its parent."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
                children[parent].append(int(entry.name))
    return children


def listener(pid: int) -> int:
    """The first of a process and those below it that listens: the bridge itself, below a container's init; else the process."""
    tables = SocketTables()
    return next((one for one in family(pid) if tables.listens(one)), pid)


def ports(pids: Sequence[int]) -> tuple[int, ...]:
    """The TCP ports that these processes, all on one network, listen on, in order."""
    return listened_on(pids, SocketTables().listeners(str(pids[0])))


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A memory cgroup of our own."""

    path: Path

    def add(self, pid: int) -> None:
        """Move a process into it; one that is gone is no error."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def remove(self) -> None:
        """Drop it; whoever is still in it goes back to the root first."""
        with contextlib.suppress(OSError):
            for pid in (self.path / "cgroup.procs").read_text(encoding="ascii").split():
                (self.path.parent / "cgroup.procs").write_text(pid, encoding="ascii")
        with contextlib.suppress(OSError):
            self.path.rmdir()


def memory_group(pid: int, limit: int) -> MemoryGroup | None:
    """A new memory cgroup with a limit in bytes, on cgroup v1 or v2; `None` where none can be made."""
    if os.geteuid() != 0:
        return None
    for home, files in (
        (_CGROUPS / "memory", {"memory.limit_in_bytes": limit}),
        (_CGROUPS, {"memory.max": limit, "memory.swap.max": 0}),
    ):
        group = MemoryGroup(home / f"mcpwatch-drill-{pid}")
        if not home.is_dir():
            continue
        try:
            group.path.mkdir()
            for name, value in files.items():
                (group.path / name).write_text(str(value), encoding="ascii")
        except OSError:
            group.remove()
            continue
        return group
    return None
