"""Examination of what a machine gives out by the piece: processes, memory, inotify watches, and a look into `/proc`.

Reads limits and what is used of them, tries nothing but one inotify watch, and says nothing of what it cannot read.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.runtimes import kernel

PER_MEMBER = 8
"""Processes and threads of a member: a launcher, the server, its threads."""
MEMORY = 64 * 1024**2
"""Bytes of a member: an interpreter with an MCP library."""
OWN = 24
"""Processes and threads of the watchdog and the gateway."""
ADDRESSES = 2 * 1024**3
"""Bytes of address space below which an interpreter with threads cannot be sure to start."""


def shortages(patient: Patient) -> Iterator[DoctorFinding]:
    """Everything that this fleet may find too little of."""
    members = len(patient.plan.members) if patient.plan else 0
    yield from processes(members)
    yield from memory(members)
    yield from watches()
    yield from sight()


def processes(members: int, root: Path = Path("/")) -> Iterator[DoctorFinding]:
    """How many more processes may be made: by the control group, and by the limit of this user."""
    wanted = OWN + PER_MEMBER * members
    for folder in _groups(root, "pids"):
        most, used = _number(folder / "pids.max"), _number(folder / "pids.current")
        if most is not None and used is not None and most - used < wanted:
            what = f"the control group has room for {most - used} more processes and threads; this fleet may need {wanted}"
            command = "docker run --pids-limit=-1; with systemd: TasksMax=infinity"
            yield DoctorFinding("limits", "warning", what, "members cannot be started when they run out", command)
            return
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0 and soft < wanted:
        what = f"this user may have {soft} processes and threads (ulimit -u); the fleet alone may need {wanted}"
        yield DoctorFinding("limits", "warning", what, "members cannot be started when they run out", f"ulimit -u {4 * wanted}")


def memory(members: int, root: Path = Path("/")) -> Iterator[DoctorFinding]:
    """How much memory the control group and the limits of this process leave."""
    wanted = MEMORY * (members + 2)
    for folder in _groups(root, "memory"):
        most = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if most is not None and most < wanted:
            what = f"the control group may use {most // 1024**2} MiB of memory; this fleet may need {wanted // 1024**2}"
            yield DoctorFinding(
                "limits", "warning", what, "the kernel kills members when it runs out", "docker run --memory; MemoryMax="
            )
            return
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY and soft < ADDRESSES:
        what = f"a process may use {soft // 1024**2} MiB of addresses (ulimit -v)"
        yield DoctorFinding(
            "limits", "warning", what, "servers end with 'out of memory' though there is some", "ulimit -v unlimited"
        )


def watches(probe: Path = Path("/")) -> Iterator[DoctorFinding]:
    """Whether one more file can be watched."""
    handle = kernel.inotify_open()
    try:
        if handle is None or kernel.inotify_watch(handle, probe, kernel.IN_CREATE) is None:
            which = "instances" if handle is None else "watches"
            what = f"this user has no inotify {which} left"
            why = "logs are read twice a second instead of at once, and a changed configuration needs 'mcpwatch reload'"
            yield DoctorFinding("limits", "warning", what, why, f"sysctl fs.inotify.max_user_{which}=1048576")
    finally:
        if handle is not None:
            os.close(handle)


def sight(root: Path = Path("/")) -> Iterator[DoctorFinding]:
    """Whether processes of others are hidden: a port that one of them holds has no name then."""
    try:
        mounts = (root / "proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        what, why = f"/proc cannot be read: {error.strerror}", "whether a process lives cannot be told: nothing is concluded"
        yield DoctorFinding("limits", "error", what, why, "mount -t proc proc /proc")
        return
    options = [line.split()[3] for line in mounts if line.split()[1:3] == ["/proc", "proc"]][-1:]
    hidden = next((word[8:] for text in options for word in text.split(",") if word.startswith("hidepid=")), "0")
    if hidden not in ("0", "off") and os.geteuid() != 0:
        what = f"/proc hides the processes of other users (hidepid={hidden})"
        why = "who holds a port that a member needs cannot be named"
        yield DoctorFinding("limits", "warning", what, why, "mount -o remount,gid=GROUP /proc")


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The control group of this process for a controller, version 2 first, and the mount itself, as a container sees its own."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "" or controller in names.split(","):
            base = mount if names == "" else mount / controller
            yield from (base / path.lstrip("/"), base)


def _number(file: Path) -> int | None:
    """The number in a file; `None` for `max`, and where there is none."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
