"""Who keeps the processes of a member from running at all: a debugger that stopped one of them, or a cgroup that is frozen.

No signal changes either. It must not know members.
"""

from __future__ import annotations

import re
from pathlib import Path

from mcpwatch.runtimes.process_table import ProcUnreadable
from mcpwatch.runtimes.stopped import StopWatch

_TRACED = re.compile(r"^State:\tt\b.*^TracerPid:\t(\d+)$", re.MULTILINE | re.DOTALL)
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class StillWatch:
    """Looks when asked, and not otherwise; `processes` sees whom to look at, once for all members that fail together."""

    def __init__(self, processes: StopWatch) -> None:
        self._processes = processes

    def still(self, pid: int) -> tuple[str, str]:
        """The cause (`traced`, `frozen`) and a sentence, of a main process or one below it; two empty texts when nobody does."""
        try:
            own = self._processes.of_member(pid)
        except ProcUnreadable:
            return "", ""
        for one in own:
            if tracer := _tracer(one):
                return "traced", f"a debugger has stopped its process {one}: pid {tracer} ({_name(tracer)}) traces it"
            if group := _frozen(one):
                return "frozen", f"its process {one} is frozen with the cgroup {group}"
        return "", ""


def _tracer(pid: int) -> int:
    """Who stopped a process as its tracer; else 0. One that is traced and runs is not kept."""
    found = _TRACED.search(_read(PROC / str(pid) / "status"))
    return int(found[1]) if found else 0


def _frozen(pid: int) -> str:
    """The cgroup of a process, when it is frozen, of either version; else the empty string."""
    for line in _read(PROC / str(pid) / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        if not controllers and "frozen 1" in _read(CGROUPS / own / "cgroup.events").splitlines():
            return path
        if "freezer" in controllers.split(",") and "FROZEN" in _read(CGROUPS / "freezer" / own / "freezer.state"):
            return path
    return ""


def _name(pid: int) -> str:
    return _read(PROC / str(pid) / "comm").strip() or "gone"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
