"""Who runs on this machine: the process table, marks in environments, and what a tree uses. The one door to psutil.

Linux reads /proc (a scan of 150 processes costs about 2 ms, most marks are remembered); elsewhere, or with the switch, psutil
tells the same, and is loaded only then. Knows nothing of members beyond the text of their marks. Identity is (pid, start ticks),
never pid alone.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kernel import Features, boot_id
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.process_usage import UsageSample, read_small, sample

MARK = "MCPWATCH_MARK"
HOSTED = "MCPWATCH_HOSTED"
"""What a gateway puts into the environment of a stdio server: the name of the member that it is."""
SETTLED = 2.0
"""Seconds after which a process without a mark is believed: before, it may stand between fork and exec."""

_HERTZ = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_STATES = {"zombie": "Z", "stopped": "T", "tracing-stop": "t"}
"""psutil's words for states, in the kernel's letters."""
_UNMARKED = ("", "")
_OWN_STAT = "/proc/self/stat"
_NOT_OURS = "/proc: cannot be read: it does not show the watchdog itself; mount the process table of its own namespace there"
LIGHT = 0.02
"""Seconds of processor up to which a scan may be made in a loop, and the next one too, though more may run by then."""
LISTINGS = 10
"""Listings of /proc in one scan after which it is told as not whole: processes come faster than they can be read."""
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing of the process, only that we cannot look."""


class ProcUnreadable(RuntimeFailed):
    """The process table cannot be read now: nothing may be concluded from what is not seen."""


Marks = tuple[str, str]
"""What a process carries in its environment: MCPWATCH_MARK and MCPWATCH_HOSTED, each empty where it has none."""


class ProcessTable:
    """Reads the process table; remembers the marks it has read, by identity."""

    def __init__(self, features: Features) -> None:
        self._procfs = features.procfs
        self._read: tuple[dict[tuple[int, int], Marks], set[tuple[int, int]]] = {}, set()
        """Marks, and whose are settled: replaced together, because scans are made in several threads."""
        self.light: bool | None = None if self._procfs else False
        """Whether the last scan was over in no time; `None` while nobody knows."""

    def boot(self) -> str:
        """The identity of this boot. Raises `ProcUnreadable`."""
        if self._procfs:
            return boot_id()
        import psutil

        try:
            return f"{psutil.boot_time():.0f}"
        except OSError as error:
            raise ProcUnreadable(f"/proc: cannot be read: {error.strerror}") from error

    def started_at(self, ticks: int) -> float:
        """When a process with this start began, in epoch seconds."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / _HERTZ if self._procfs else ticks / _HERTZ

    def scan(self) -> ProcessSnapshot:
        """All processes now, with their marks. Raises `ProcUnreadable`."""
        at, young, before, forks = time.monotonic(), self._young(), time.thread_time(), self.forks()
        procs, whole = self._scan_proc(young) if self._procfs else (_scan_psutil(), True)
        children: dict[int, list[int]] = {}
        for proc in procs.values():
            children.setdefault(proc.ppid, []).append(proc.pid)
        self.light = time.thread_time() - before <= LIGHT
        return ProcessSnapshot(procs, children, at, young, whole, forks)

    def look(self, pid: int) -> Proc | None:
        """One process, or `None` when there is none of that number. Raises `ProcUnreadable`."""
        if not self._procfs:
            return _by_psutil(pid)
        found = _stat(pid)
        if found is None and not os.path.exists(_OWN_STAT):  # noqa: PTH110 - nothing at all is seen, not only this one
            raise ProcUnreadable(_NOT_OURS)
        return found

    def sample(self, now: ProcessSnapshot, main: int) -> UsageSample:
        """What the tree of a member used when the snapshot was taken; only its descriptors are counted now."""
        pids = sorted(now.of_member(main))
        if not self._procfs:
            return sample(pids, first=main)
        procs = [now.procs[pid] for pid in pids if now.procs[pid].alive]
        if not procs:
            return UsageSample()
        cpu = sum(proc.cpu_seconds for proc in procs)
        fds = sum(_open_files(proc.pid) for proc in procs)
        return UsageSample(cpu, sum(proc.rss for proc in procs), fds, len(procs), self.started_at(now.procs[main].ticks))

    def forks(self) -> int | None:
        """How many processes and threads this machine has ever started, each with a number of its own; `None`: it does not tell."""
        text = read_small("/proc/stat") if self._procfs else None
        _, found, rest = (text or b"").partition(b"\nprocesses ")
        return int(rest.split(None, 1)[0]) if found else None

    def numbers(self) -> int:
        """How many numbers the kernel gives out before it gives one again; 0 where it does not tell."""
        text = read_small("/proc/sys/kernel/pid_max") if self._procfs else None
        return int(text) if text else 0

    def orphans(self, known: Iterable[int]) -> set[int] | None:
        """Our own living or dead children other than `known`; `None` when the kernel does not list children."""
        if not self._procfs:
            return None
        found: set[int] = set()
        try:
            for task in os.listdir("/proc/self/task"):  # noqa: PTH208
                text = Path(f"/proc/self/task/{task}/children").read_text(encoding="ascii")
                found.update(int(word) for word in text.split())
        except OSError:
            return None
        return found.difference(known)

    def inherited(self, known: Iterable[int]) -> set[int] | None:
        """Children other than `known` of our first thread, to which the kernel gives all orphans; `None` when it does not say."""
        if not self._procfs:
            return None
        text = read_small(f"/proc/self/task/{os.getpid()}/children")
        return None if text is None else {int(word) for word in text.split()}.difference(known)

    def _young(self) -> float:
        """The start ticks from which on a process is not settled yet."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME) if self._procfs else time.time()
        return (now - SETTLED) * _HERTZ

    def _scan_proc(self, young: float) -> tuple[dict[int, Proc], bool]:
        """All processes, and whether that is all: /proc is listed again until nobody in it is new.

        Who is gone before it is read may have left a successor, and that is in the next listing.
        """
        found: dict[int, Proc] = {}
        marks: dict[tuple[int, int], Marks] = {}
        settled: set[tuple[int, int]] = set()
        old, believed = self._read
        listed, names = set[str](), list[str]()
        for _ in range(LISTINGS):
            names = [name for name in _numbers() if name not in listed and name.isdigit()]
            if not names:
                break
            listed.update(names)
            for name in reversed(names):  # the youngest first: they are the first to be gone
                if (proc := _stat(int(name))) is None:
                    continue
                key = (proc.pid, proc.ticks)
                known = old.get(key, _UNMARKED)
                if key not in believed:
                    # A young one may stand between fork and exec, with its parent's marks; one that overwrites its own had them.
                    seen = _environ_marks(proc.pid) if proc.alive else _UNMARKED
                    known = seen if seen[0] else known
                marks[key] = known
                if proc.ticks < young:
                    settled.add(key)
                found[proc.pid] = proc if known == _UNMARKED else replace(proc, mark=known[0], hosted=known[1])
        self._read = marks, settled
        return found, not names


def zombie_status(pid: int) -> int | None:
    """The wait status of an unreaped zombie that need not be a child, from field 52 of its stat; `None` when not to be read."""
    text = _read_stat(pid)
    if text is None:
        return None
    words = text[text.rindex(b")") + 2 :].split()
    return int(words[49]) if words[0] == b"Z" and len(words) > 49 else None


def _numbers() -> list[str]:
    try:
        names = os.listdir("/proc")  # noqa: PTH208
    except OSError as error:
        raise ProcUnreadable(f"/proc: cannot be read: {error.strerror}") from error
    if str(os.getpid()) not in names:
        raise ProcUnreadable(_NOT_OURS)
    return names


def _read_stat(pid: int) -> bytes | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError as error:
        if error.errno in _SHORT:
            raise ProcUnreadable(f"/proc: cannot be read: {error.strerror}") from error
        return None
    try:
        return os.read(fd, 2048)
    except OSError:
        return None
    finally:
        os.close(fd)


def _stat(pid: int) -> Proc | None:
    text = _read_stat(pid)
    if not text:
        return None
    words = text[text.rindex(b")") + 2 :].split(None, 22)
    cpu = (int(words[11]) + int(words[12])) / _HERTZ
    rss = int(words[21]) * _PAGE
    return Proc(pid, int(words[1]), int(words[3]), int(words[19]), words[0].decode(), "", "", cpu, rss, int(words[2]))


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return 0


def _environ_marks(pid: int) -> Marks:
    try:
        block = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return _UNMARKED
    return (_variable(block, MARK), _variable(block, HOSTED)) if b"\0MCPWATCH_" in block else _UNMARKED


def _variable(block: bytes, name: str) -> str:
    """The value of a variable in a block of variables that each begin with a zero byte, or the empty string."""
    _, found, rest = block.partition(f"\0{name}=".encode())
    return rest.split(b"\0", 1)[0].decode(errors="replace") if found else ""


def _by_psutil(pid: int) -> Proc | None:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            state = _STATES.get(process.status(), "S")
            ppid, ticks = process.ppid(), int(process.create_time() * _HERTZ)
        sid, group = os.getsid(pid), os.getpgid(pid)
    except (psutil.Error, OSError):
        return None
    try:
        known = process.environ() if state != "Z" else {}
    except (psutil.Error, OSError):
        known = {}
    return Proc(pid, ppid, sid, ticks, state, known.get(MARK, ""), known.get(HOSTED, ""), group=group)


def _scan_psutil() -> dict[int, Proc]:
    import psutil

    return {pid: proc for pid in reversed(psutil.pids()) if (proc := _by_psutil(pid)) is not None}
