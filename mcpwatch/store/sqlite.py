"""The durable memory: facts, probe roll-ups and small values of the rooms, in SQLite (WAL). Implements `ports.Store`.

One writer thread takes a bounded queue in batches, so that recording never blocks the loop; readers use connections of their own.
A store that is corrupt or from a newer mcpwatch is set aside under a name that says so, and a new one is begun: the fleet is
rebuilt from what runs, not from what was written. One that is removed while it is used is made again, with all small values. One
that only cannot be written now is waited for, and nothing waits with it; small values are kept in mind until they are on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mcpwatch.model.errors import StoreError
from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.json import fact_json
from mcpwatch.model.time import WallTime
from mcpwatch.store.history import read_facts
from mcpwatch.store.measured import KEEP
from mcpwatch.store.measured import SCHEMA as MEASURED
from mcpwatch.store.schema import DROP, PUT, ROLL, SCHEMA, VERSION, Write, small

QUEUE_SIZE = 20_000
BATCH = 500
BUSY_WAIT = 5.0
"""Seconds to wait for a store that another program has locked."""
KEEP_FACTS = 200_000
"""Facts kept; the oldest go first."""

KEEP_PROBES_DAYS = 30
PRUNE_EVERY = 3600.0
RETRY = 5.0
"""Seconds after which small values that could not be written are tried again, whatever else happens."""

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""What no time mends, unlike a lock that another holds or a full disk."""


class SqliteStore:
    """The store in one file. `trouble` is called (from any thread) with one line when writing fails or is well again (`None`)."""

    def __init__(self, path: Path, trouble: Callable[[str | None], None] = lambda _: None) -> None:
        self.path = path
        self.set_aside: str = ""
        self.dropped = 0
        self._trouble = trouble
        self._queue: queue.Queue[Write | threading.Event | None] = queue.Queue(QUEUE_SIZE)
        self._small: dict[str, dict[str, str]] = {}
        self._unsaved: dict[tuple[str, str], str | None] = {}
        """Small values that a failed write did not bring to disk. Belongs to the thread."""
        self._failing = self._ready = self._begun_anew = False
        self._why = ""
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int, int] | None = None
        """Device, inode and size of the file that the writer has open."""
        self._open()
        self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
        self._thread.start()

    # Opening.

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

    # Writing.

    def record(self, fact: Fact) -> None:
        """Keep a fact; a successful probe is only rolled up, so that the list stays readable."""
        if isinstance(fact, ProbeFinished):
            outcome, seconds = str(fact.outcome), fact.result.seconds
            counts = tuple(int(outcome == kind) for kind in ("success", "degraded", "failure", "unknown"))
            subject = fact.route or fact.member
            self._put((ROLL, (int(fact.at // 3600), subject, fact.vantage, fact.check, *counts, seconds, seconds)))
            if outcome == "success":
                return
        member = getattr(fact, "member", None) or getattr(fact, "route", None)
        body = json.dumps(fact_json(fact), ensure_ascii=False, separators=(",", ":"))
        self._put(("INSERT INTO facts (at, name, member, body) VALUES (?, ?, ?, ?)", (fact.at, fact.name, member, body)))

    def remember(self, room: str, key: str, value: str | None) -> None:
        """Keep (or, with `None`, drop) one small value for a room."""
        values = self._small.setdefault(room, {})
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
        self._put(small(room, key, value))

    def measure(self, hour: int, subject: str, seconds: tuple[float, float, float], body: str) -> None:
        """Keep what was measured of a route in an hour, instead of what was kept of it before. Never blocks, never raises."""
        self._put((KEEP, (hour, subject, *seconds, body)))

    def recall(self, room: str) -> dict[str, str]:
        """All small values of a room."""
        return dict(self._small.get(room, {}))

    def _put(self, write: Write) -> None:
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            self.dropped += 1

    def _write_loop(self) -> None:
        pruned = 0.0
        while True:
            batch, stop = self._take_batch()
            self._write([write for write in batch if isinstance(write, tuple)])
            for write in batch:
                if isinstance(write, threading.Event):
                    write.set()
            if stop:
                if self._writer is not None:
                    self._writer.close()
                return
            if self._writer is not None and time.monotonic() - pruned > PRUNE_EVERY:
                pruned = time.monotonic()
                self._prune(self._writer)

    def _take_batch(self) -> tuple[list[Write | threading.Event], bool]:
        """What waits, up to a batch; and whether the end was asked for."""
        batch: list[Write | threading.Event] = []
        try:
            item = self._queue.get(timeout=RETRY if self._unsaved else None)
        except queue.Empty:
            return batch, False
        while item is not None:
            batch.append(item)
            if len(batch) >= BATCH:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _write(self, writes: list[Write]) -> None:
        """One transaction. A failure (full disk, read-only) loses these facts, counted, but no small value; it is told once."""
        try:
            self._look_at_file()
            self._commit([small(*key, value) for key, value in self._unsaved.items()] + writes)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the file does
            self._keep_in_mind(writes)
            self._fail(f"{self.path}: cannot be written: {error}")
            if isinstance(error, sqlite3.Error) and self._spoilt(error):
                self._begin_anew(f"unreadable ({error})")
            return
        self._unsaved.clear()
        if self._failing:
            self._failing, self._why = False, ""
            self._trouble(None)

    def _commit(self, writes: list[Write]) -> None:
        connection = self._opened()
        if not writes:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in writes:
                connection.execute(sql, values)  # pyright: ignore[reportArgumentType]
            connection.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _keep_in_mind(self, writes: list[Write]) -> None:
        """What a failed transaction leaves: the last value of each small one, and a number of lost facts."""
        for sql, values in writes:
            if sql in (PUT, DROP):
                room, key, *value = values
                self._unsaved[str(room), str(key)] = str(value[0]) if value else None
            else:
                self.dropped += 1

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

    def _begin_anew(self, why: str) -> None:
        """Set the broken file aside and write the next batch into a new one."""
        self._shut()
        with contextlib.suppress(StoreError):
            self._put_aside(why)
            self._remember_all()
            self._write([])

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

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Drop what is older than the limits."""
        try:
            connection.execute("DELETE FROM facts WHERE id <= (SELECT max(id) FROM facts) - ?", (KEEP_FACTS,))
            oldest = int(time.time() // 3600) - 24 * KEEP_PROBES_DAYS
            connection.execute("DELETE FROM rollup WHERE hour < ?", (oldest,))
            connection.execute("DELETE FROM measured WHERE hour < ?", (oldest,))
        except sqlite3.Error:
            return

    # Reading.

    async def facts(
        self, *, since: WallTime | None = None, limit: int = 1000, member: str | None = None
    ) -> list[dict[str, object]]:
        """Recorded facts as JSON objects, oldest first; the newest `limit` of them."""
        await self.flush()
        if self._begun_anew:  # what was told of that is recorded by now, and not on disk yet
            self._begun_anew = False
            await self.flush()
        return await asyncio.to_thread(read_facts, self.path, since=since, limit=limit, member=member)

    async def durable(self) -> None:
        """Return when every small value remembered so far is on disk. Raises `StoreError` when one cannot be written now."""
        if not await asyncio.to_thread(self._flushed) or self._unsaved:
            raise StoreError(self._why or f"{self.path}: cannot be written")

    @property
    def waiting(self) -> int:
        """Writes that wait for the thread."""
        return self._queue.qsize()

    async def flush(self) -> None:
        """Return when everything recorded so far is on disk, or cannot be written now."""
        await asyncio.to_thread(self._flushed)

    def _flushed(self) -> bool:
        """Whether the thread came by, within a bound. Blocking."""
        done = threading.Event()
        try:
            self._queue.put(done, timeout=5.0)
        except queue.Full:
            return False
        return done.wait(2 * BUSY_WAIT + 5.0)

    def close(self) -> None:
        """Write what waits and end the thread."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=5.0)
        self._thread.join(timeout=10.0)


class _NewerError(Exception):
    """The file was written by a newer mcpwatch."""


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Device, inode and size of a regular file, which never shrinks by itself; `None` where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size) if stat.S_ISREG(found.st_mode) else None
