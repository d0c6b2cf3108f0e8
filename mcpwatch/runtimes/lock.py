"""One owner per state directory: a flock on `<state>/lock`, with the owner's pid inside for people.

The kernel lets go of the lock with its owner, so a stale file is no obstacle and is never unlinked (two owners could hold two
files of one name). A child between fork and exec shares the lock for a moment after its parent was killed: hence the short
patience, which also makes sure that everything a killed watchdog spawned carries its mark by the time the next one looks.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mcpwatch.model.errors import AlreadyRunning, McpwatchError

PATIENCE = 1.0
"""Seconds to wait for a lock whose owner, by the pid in the file, is already dead."""
NAMELESS = 6.0
"""Seconds to wait for the pid of an owner that lives and is not in the file: it writes it again every four seconds."""
PAUSE = 0.01


class Lock:
    """`with Lock(path):` owns the directory of `path`, or raises `AlreadyRunning` with the owner's pid."""

    def __init__(self, path: Path) -> None:
        """Nothing happens before `with`."""
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Take the lock. Raises `AlreadyRunning`, or `McpwatchError` when the file cannot be opened."""
        self._fd = self._take()
        return self

    @property
    def held(self) -> bool:
        """Whether the file at the path is still the one that is locked: somebody may have removed it."""
        return self._fd is not None and _same(self._fd, self._path)

    def name_owner(self) -> None:
        """Write our pid again where somebody cut or changed the file. Raises `OSError`."""
        if self._fd is not None and _pid(self._fd) != os.getpid():
            _write_pid(self._fd)

    def take_again(self) -> None:
        """Lock the file that is at the path now. Raises `AlreadyRunning` when another owner came first, or `McpwatchError`."""
        if not self.held:
            fresh = self._take()
            if self._fd is not None:
                os.close(self._fd)
            self._fd = fresh

    def _take(self) -> int:
        begun = time.monotonic()
        while True:
            try:
                clear_way(self._path)
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise McpwatchError(f"{self._path}: cannot be opened: {error.strerror}; choose another --state-dir") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _pid(fd)
                os.close(fd)
                if (owner is not None and runs(owner)) or time.monotonic() - begun > (NAMELESS if owner is None else PATIENCE):
                    raise AlreadyRunning(owner, str(self._path.parent)) from None
                time.sleep(PAUSE)
                continue
            if _same(fd, self._path):
                break
            os.close(fd)  # removed between the two calls: a lock on a file that nobody finds is none
        _write_pid(fd)
        return fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of it; the file stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def clear_way(path: Path) -> bool:
    """Rename a directory that stands where a file belongs; whether there was one. Raises `OSError`."""
    if not path.is_dir() or path.is_symlink():
        return False
    path.rename(path.with_name(f"{path.name}.aside-{time.time_ns()}"))
    return True


def owner(path: Path) -> int | None:
    """The pid of the process that holds the lock, `None` when nobody does (or it has not said yet)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(fd)
    finally:
        os.close(fd)
    return None


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116
    except OSError:
        return False


def _write_pid(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None


def runs(pid: int) -> bool:
    """Whether a process lives: one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return True
