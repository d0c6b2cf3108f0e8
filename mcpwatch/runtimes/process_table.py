"""Who runs on this machine: the process table, marks in environments, and what a tree uses. The one door to psutil.

Linux reads /proc (a scan of 150 processes costs about 2 ms, most marks are remembered); elsewhere, or with the switch, psutil
tells the same, and is loaded only then. Knows nothing of members beyond the text of their marks. Identity is (pid, start ticks),
never pid alone.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes import descriptors
from mcpwatch.runtimes.kernel import Features, boot_id

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
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing of the process, only that we cannot look."""


class ProcUnreadable(RuntimeFailed):
    """The process table cannot be read now: nothing may be concluded from what is not seen."""


@dataclass(frozen=True, slots=True)
class Proc:
    """One process of a snapshot. `ticks` is its start on the kernel's clock; `mark` the value of MCPWATCH_MARK, if any.

    `hosted` names the stdio server that a gateway runs there; `cpu_seconds` and `rss` (bytes) are what it used when it was read.
    """

    pid: int
    ppid: int
    sid: int
    ticks: int
    state: str = "S"
    mark: str = ""
    hosted: str = ""
    cpu_seconds: float = 0.0
    rss: int = 0
    group: int = 0

    @property
    def alive(self) -> bool:
        """Whether it still runs: a zombie is only an unread exit status."""
        return self.state not in ("Z", "X")


@dataclass(frozen=True)
class ProcessSnapshot:
    """All processes at one moment. The look began `at` (monotonic clock); whoever has `young` ticks or more was not settled yet.

    A thousand members are looked for in one snapshot: it is indexed once, when first asked.
    """

    procs: dict[int, Proc]
    children: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    at: float = 0.0
    young: float = math.inf

    @cached_property
    def sessions(self) -> Mapping[int, Sequence[Proc]]:
        """The processes of each session."""
        return _grouped(self.procs.values(), lambda proc: proc.sid)

    @cached_property
    def groups(self) -> Mapping[int, Sequence[Proc]]:
        """The processes of each group."""
        return _grouped(self.procs.values(), lambda proc: proc.group)

    @cached_property
    def marked(self) -> Mapping[str, Sequence[Proc]]:
        """Those that carry the mark of a member, by `<instance>/<member>`."""
        return _grouped((proc for proc in self.procs.values() if proc.mark), lambda proc: proc.mark.rpartition("/")[0])

    def has(self, pid: int, ticks: int) -> bool:
        """Whether exactly this process lives (not another that got its number, not its zombie)."""
        found = self.procs.get(pid)
        return found is not None and found.ticks == ticks and found.alive

    def descend(self, roots: Iterable[int]) -> set[int]:
        """`roots` and everything below them."""
        found: set[int] = set()
        todo = list(roots)
        while todo:
            pid = todo.pop()
            if pid not in found:
                found.add(pid)
                todo.extend(self.children.get(pid, ()))
        return found

    def of_member(self, main: int) -> set[int]:
        """`main` and what is below it, without what a gateway there hosts for other members: each is counted for one member."""
        if (first := self.procs.get(main)) is None:
            return set()
        own = {"", first.hosted, _member_of(first.mark)}
        found: set[int] = set()
        todo = [main]
        while todo:
            pid = todo.pop()
            proc = self.procs.get(pid)
            if proc is None or pid in found or proc.hosted not in own:
                continue
            found.add(pid)
            todo.extend(self.children.get(pid, ()))
        return found


_Key = TypeVar("_Key")


def _grouped(procs: Iterable[Proc], key: Callable[[Proc], _Key]) -> dict[_Key, list[Proc]]:
    found: dict[_Key, list[Proc]] = {}
    for proc in procs:
        found.setdefault(key(proc), []).append(proc)
    return found


Marks = tuple[str, str]
"""What a process carries in its environment: MCPWATCH_MARK and MCPWATCH_HOSTED, each empty where it has none."""


class ProcessTable:
    """Reads the process table; remembers the marks it has read, by identity."""

    def __init__(self, features: Features) -> None:
        self._procfs = features.procfs
        self._read: tuple[dict[tuple[int, int], Marks], set[tuple[int, int]]] = {}, set()
        """Marks, and whose are settled: replaced together, because scans are made in several threads."""

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
        at, young = time.monotonic(), self._young()
        procs = self._scan_proc(young) if self._procfs else _scan_psutil()
        children: dict[int, list[int]] = {}
        for proc in procs.values():
            children.setdefault(proc.ppid, []).append(proc.pid)
        return ProcessSnapshot(procs, children, at, young)

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
        text = _read(f"/proc/self/task/{os.getpid()}/children")
        return None if text is None else {int(word) for word in text.split()}.difference(known)

    def _young(self) -> float:
        """The start ticks from which on a process is not settled yet."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME) if self._procfs else time.time()
        return (now - SETTLED) * _HERTZ

    def _scan_proc(self, young: float) -> dict[int, Proc]:
        found: dict[int, Proc] = {}
        marks: dict[tuple[int, int], Marks] = {}
        settled: set[tuple[int, int]] = set()
        old, believed = self._read
        for name in reversed(_numbers()):  # the youngest first: they are the first to be gone
            if not name.isdigit() or (proc := _stat(int(name))) is None:
                continue
            key = (proc.pid, proc.ticks)
            known = old.get(key, _UNMARKED)
            if key not in believed:
                # A young process may stand between fork and exec, with its parent's marks; one that overwrites its own had them.
                seen = _environ_marks(proc.pid) if proc.alive else _UNMARKED
                known = seen if seen[0] else known
            marks[key] = known
            if proc.ticks < young:
                settled.add(key)
            found[proc.pid] = proc if known == _UNMARKED else replace(proc, mark=known[0], hosted=known[1])
        self._read = marks, settled
        return found


def zombie_status(pid: int) -> int | None:
    """The wait status of an unreaped zombie that need not be a child, from field 52 of its stat; `None` when not to be read."""
    text = _read_stat(pid)
    if text is None:
        return None
    words = text[text.rindex(b")") + 2 :].split()
    return int(words[49]) if words[0] == b"Z" and len(words) > 49 else None


@dataclass(frozen=True, slots=True)
class UsageSample:
    """What a set of processes uses: seconds of processor since their start, bytes resident, open descriptors, how many."""

    cpu_seconds: float = 0.0
    rss: int = 0
    fds: int = 0
    processes: int = 0
    started_at: float | None = None


def sample(pids: Iterable[int], first: int | None = None) -> UsageSample:
    """What these processes use now, together; `started_at` (epoch seconds) is that of `first`. The vanished count nothing."""
    import psutil

    cpu, rss, fds, count, started = 0.0, 0, 0, 0, None
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system
                rss += process.memory_info().rss
                if pid == first:
                    started = process.create_time()
                count += 1
                fds += process.num_fds()
        except (psutil.Error, OSError):
            continue
    return UsageSample(cpu, rss, fds, count, started)


def sample_self() -> UsageSample:
    """What this very process uses, without its children; psutil, which takes ten times as long, where there is no `/proc`."""
    pages, fds = (_read("/proc/self/statm") or b"").split(), descriptors.used()
    if len(pages) < 2 or fds is None:
        return sample((os.getpid(),))
    return UsageSample(time.process_time(), int(pages[1]) * _PAGE, fds, 1)


def _read(path: str) -> bytes | None:
    """The whole of a small file of the kernel, `None` where it cannot be read; in less time than pathlib takes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = [os.read(fd, 1 << 16)]
        while parts[-1]:
            parts.append(os.read(fd, 1 << 16))
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


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


def _member_of(mark: str) -> str:
    """The member that a mark `<instance>/<member>/<generation>` names."""
    return mark.partition("/")[2].rpartition("/")[0]


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
