"""Locks around a client's file: the client's own protocol, and one among mcpwatch's writers. Shell.

Claude Code (proper-lockfile) locks by making a directory beside the file it was told, `<file>.lock`, refreshes its time while it
works and takes over one that is older than ten seconds. mcpwatch does the same, holds it for well under a second, and gives back
only what it took. Between two mcpwatch writers the file's directory is flocked, which leaves nothing behind after a crash.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from mcpwatch.clients.files import UNSUPPORTED
from mcpwatch.model.errors import ClientFileError

WAIT = 15.0
"""Seconds to wait for a lock: longer than a dead owner's lock takes to go stale."""
STALE = 10.0
"""Seconds after which the client itself takes a lock for abandoned."""
PAUSE = 0.05
"""Seconds between two tries."""


@contextmanager
def locked(path: Path, real: Path, protocol: Literal["", "mkdir"], wait: float = WAIT) -> Generator[None]:
    """Hold every lock that guards `path` (as the client names it) and `real` (where it points). Raises `ClientFileError`."""
    deadline = time.monotonic() + wait
    with _directory(real.parent, deadline, path):
        if protocol == "mkdir":
            with _mkdir(Path(f"{path}.lock"), deadline, path):
                yield
        else:
            yield


@contextmanager
def _directory(directory: Path, deadline: float, path: Path) -> Generator[None]:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ClientFileError(f"{path}: its directory cannot be opened: {error.strerror}") from None
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _pause(deadline, path, "another mcpwatch is writing it")
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise ClientFileError(f"{path}: its directory cannot be locked: {error.strerror}") from None
                break  # no locks here: what another writer does meanwhile is still noticed when the file is exchanged
        yield
    finally:
        os.close(fd)


@contextmanager
def _mkdir(lock: Path, deadline: float, path: Path) -> Generator[None]:
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            if _abandoned(lock):
                with suppress(OSError):
                    lock.rmdir()
            else:
                _pause(deadline, path, f"its client holds {lock.name}")
        except OSError as error:
            raise ClientFileError(f"{path}: cannot be locked: {error.strerror}") from None
    mine = lock.stat().st_ino
    try:
        yield
    finally:
        with suppress(OSError):
            if lock.stat().st_ino == mine:
                lock.rmdir()


def _abandoned(lock: Path) -> bool:
    """Whether it is there and older than its owner would let it become. One that just went is free, not abandoned."""
    try:
        return time.time() - lock.stat().st_mtime > STALE
    except OSError:
        return False


def _pause(deadline: float, path: Path, why: str) -> None:
    if time.monotonic() >= deadline:
        raise ClientFileError(f"{path}: {why}; left alone for now")
    time.sleep(PAUSE)
