"""The file of the store: opened, watched while it is used, and set aside when it is broken.

A store that is corrupt or from a newer mcpwatch is set aside under a name that says so, and a new one is begun: the fleet is
rebuilt from what runs, not from what was written. One that is removed while it is used is made again, with all small values.
"""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

from mcpwatch.model.errors import StoreError
from mcpwatch.store.measured import SCHEMA as MEASURED
from mcpwatch.store.schema import SCHEMA, VERSION

BUSY_WAIT = 5.0
"""Seconds to wait for a store that another program has locked."""

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""What no time mends, unlike a lock that another holds or a full disk."""


class StoreFile:
    """The file and the small values in it. `trouble` is called with one line when it cannot be used."""

    def __init__(self, path: Path, trouble: Callable[[str | None], None]) -> None:
        self.path = path
        self.set_aside: str = ""
        self._trouble = trouble
        self._small: dict[str, dict[str, str]] = {}
        self._unsaved: dict[tuple[str, str], str | None] = {}
        """Small values that a failed write did not bring to disk. Belongs to the thread."""
        self._failing = self._ready = self._begun_anew = False
        self._why = ""
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int, int] | None = None
        """Device, inode and size of the file that the writer has open."""

    def _open(self) -> None:
        """Open or make the file; set a broken or newer one aside. Raises `StoreError` when no store can be had."""
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if self._broken(error):
                self._put_aside(f"unreadable ({error})")
            else:
                self._do_without(error)
        except _NewerError as error:
            self._put_aside(str(error))

    def _broken(self, error: sqlite3.Error) -> bool:
        """Whether no waiting mends it."""
        return error.sqlite_errorcode & 0xFF in _BROKEN or self._blocked()

    def _spoilt(self, error: sqlite3.Error) -> bool:
        """Whether the file in use lost what was in it: not every error of a statement says so."""
        lost = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)
        return lost or self._blocked()

    def _blocked(self) -> bool:
        """Whether a directory stands where one of its files belongs."""
        return any(self.path.with_name(self.path.name + suffix).is_dir() for suffix in ("", "-wal", "-shm"))

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.aside-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        if aside.exists():
            aside = aside.with_name(f"{aside.name}.{time.monotonic_ns()}")
        try:
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.is_dir():
                    part.rename(aside.with_name(aside.name + suffix))
                part.unlink(missing_ok=True)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {why}, and no new store can be made: {error}") from error
        self.set_aside = f"{self.path}: {why}; set aside as {aside.name}, a new store was begun"

    def _do_without(self, error: sqlite3.Error) -> None:
        """Go on with what can be read past all locks, until the file can be used."""
        self._failing = True
        self._trouble(f"{self.path}: cannot be used: {error}; nothing is recorded meanwhile")
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection,
        ):
            self._load(connection)

    def _load(self, connection: sqlite3.Connection) -> None:
        """Take the small values, but none that was remembered since."""
        for room, key, value in connection.execute("SELECT room, key, value FROM small"):
            self._small.setdefault(str(room), {}).setdefault(str(key), str(value))

    def _prepare(self) -> None:
        try:
            self.path.touch(mode=0o600)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
        connection = self._connect()
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise _NewerError(f"written by a newer mcpwatch (version {version})")
            if version == 0:
                connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            connection.execute(MEASURED)
            self._load(connection)
            connection.execute("SELECT id FROM facts ORDER BY id DESC LIMIT 1").fetchone()
            self._ready = True
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_WAIT, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _fail(self, why: str) -> None:
        self._why = why
        if not self._failing:
            self._failing = True
            self._trouble(why)

    def _look_at_file(self) -> None:
        """Somebody may have removed, replaced or cut the file: then nobody reads what the writer goes on writing."""
        if self._writer is None or self._file is None:
            return
        now = _identity(self.path)
        if now is not None and now[:2] == self._file[:2] and now[2] >= self._file[2]:
            self._file = now
            return
        cut = now is not None and now[:2] == self._file[:2]
        happened = "cut short" if cut else "removed or replaced"
        self._fail(f"{self.path}: was {happened} while in use; a new store is begun, earlier events are gone")
        self._shut()
        if cut:
            self._put_aside("cut short")
        self._remember_all()

    def _remember_all(self) -> None:
        """Every small value goes into the new file; taken in two steps that the loop's thread cannot cut in half."""
        self._begun_anew = True
        rooms = [(room, dict(values)) for room, values in list(self._small.items())]
        self._unsaved |= {(room, key): value for room, values in rooms for key, value in values.items()}

    def _shut(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
        self._writer, self._ready = None, False
        if not self.path.exists():
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _opened(self) -> sqlite3.Connection:
        """The writer's own connection, made when it can be."""
        if not self._ready:
            self._prepare()
        if self._writer is None:
            self._writer = self._connect()
            self._file = _identity(self.path)
        return self._writer


class _NewerError(Exception):
    """The file was written by a newer mcpwatch."""


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Device, inode and size of a regular file, which never shrinks by itself; `None` where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size) if stat.S_ISREG(found.st_mode) else None
