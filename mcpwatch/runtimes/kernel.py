"""What only the kernel can do, by ctypes and ioctl, in one file: subreaper, exit status by pidfd, holes in files, inotify, boot id.

Knows nothing of members. Everything here says `False` or `None` where the kernel cannot; nothing raises for a missing feature.
`Features` is the switch by which the degraded paths (macOS, old kernels) are taken on purpose: `MCPWATCH_WITHOUT=pidfd,cgroup`.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import signal
import struct
import sys
from dataclasses import dataclass, fields
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 0x01, 0x02

# struct pidfd_info, first published size: mask, cgroup id, eleven ids, exit code (linux/pidfd.h).
_INFO = struct.Struct("=QQ11Ii")
_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11

IN_MODIFY, IN_CLOSE_WRITE, IN_CREATE, IN_MOVED_TO, IN_MOVE_SELF = 0x002, 0x008, 0x100, 0x080, 0x800
IN_Q_OVERFLOW, IN_IGNORED = 0x4000, 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Features:
    """What of the kernel is used. Off means the documented poorer way: polling for pidfd, scanning for cgroup and so on."""

    pidfd: bool = True
    cgroup: bool = True
    subreaper: bool = True
    procfs: bool = True
    inotify: bool = True
    holes: bool = True


def detect(without: str | None = None) -> Features:
    """What this kernel has, less the comma-separated names in `without` (default: the environment's MCPWATCH_WITHOUT)."""
    off = {word.strip() for word in (os.environ.get("MCPWATCH_WITHOUT", "") if without is None else without).split(",")}
    linux = sys.platform == "linux"
    has = {
        "pidfd": linux and hasattr(os, "pidfd_open") and _opens_pidfd(),
        "cgroup": linux,
        "subreaper": linux,
        "procfs": linux and Path("/proc/self/stat").exists(),
        "inotify": linux,
        "holes": linux,
    }
    return Features(**{item.name: has[item.name] and item.name not in off for item in fields(Features)})


def become_subreaper() -> bool:
    """Make this process the parent of orphans below it, so that a double fork does not leave its tree."""
    try:
        return int(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)) == 0
    except (AttributeError, OSError):
        return False


def exit_status(pidfd: int) -> tuple[int | None, int | None] | None:
    """`(code, signal)` of an ended and reaped process that need not be a child (Linux >= 6.15); `None` when not to be known."""
    buffer = bytearray(_INFO.pack(_INFO_EXIT, *([0] * 13)))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer, True)
    except OSError:
        return None
    values = _INFO.unpack(buffer)
    return split_status(int(values[-1])) if values[0] & _INFO_EXIT else None


def split_status(status: int) -> tuple[int | None, int | None]:
    """A wait status as `(code, signal)`, one of them `None`."""
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def punch_hole(fd: int, start: int, length: int) -> bool:
    """Give the blocks of a range back to the disk; the file keeps its size. `False` where the filesystem cannot."""
    try:
        call = _libc.fallocate
    except AttributeError:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return int(call(fd, _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE, start, length)) == 0


def send_signal(pid: int, number: signal.Signals, pidfd: int | None = None) -> bool:
    """Send a signal through a pidfd where there is one; `False` when the process is gone."""
    try:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to everyone in a process group; `False` when nobody is there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def open_pidfd(pid: int) -> int | None:
    """A pidfd of a living or unreaped process; `None` when it is gone."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def inotify_open() -> int | None:
    """A non-blocking inotify descriptor, or `None`."""
    try:
        fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except AttributeError:
        return None
    return fd if fd >= 0 else None


def inotify_watch(fd: int, path: Path, mask: int) -> int | None:
    """Watch `path`; the watch's number, or `None` (no such path, or the user's limit of watches is reached)."""
    number = int(_libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask)))
    return number if number >= 0 else None


@functools.cache
def boot_id() -> str:
    """What tells this boot from every other: process numbers and start ticks mean nothing across two of them."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _opens_pidfd() -> bool:
    fd = open_pidfd(os.getpid())
    if fd is None:
        return False
    os.close(fd)
    return True
