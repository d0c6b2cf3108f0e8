"""One owner per state directory: a flock'ed file, never unlinked, with the owner's pid inside for people."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from mcpwatch.model.errors import AlreadyRunning, McpwatchError


class Lock:
    """Held while the watchdog lives; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1

    def __enter__(self) -> Self:
        """Take the lock. Raises `AlreadyRunning` with the owner's pid."""
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise McpwatchError(f"{self._path}: the lock cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(self._handle, 32).decode(errors="replace").strip()
            os.close(self._handle)
            raise AlreadyRunning(int(pid) if pid.isdecimal() else None, str(self._path.parent)) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._handle, 0)
        os.close(self._handle)
