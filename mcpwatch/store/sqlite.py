"""The durable memory: facts, probe roll-ups and small values of the rooms, in SQLite (WAL). Implements `ports.Store`.

One writer thread takes a bounded queue in batches, so that recording never blocks the loop; readers use connections of their own.
A store that is corrupt or from a newer mcpwatch is set aside under a name that says so, and a new one is begun: the fleet is
rebuilt from what runs, not from what was written. One that only cannot be written now is waited for, and nothing waits with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mcpwatch.model.errors import StoreError
from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.json import fact_json
from mcpwatch.model.time import WallTime
from mcpwatch.store.measured import KEEP
from mcpwatch.store.measured import SCHEMA as MEASURED

VERSION = 1
QUEUE_SIZE = 20_000
BATCH = 500
BUSY_WAIT = 5.0
"""Seconds to wait for a store that another program has locked."""
KEEP_FACTS = 200_000
"""Facts kept; the oldest go first."""

KEEP_PROBES_DAYS = 30
PRUNE_EVERY = 3600.0

_SCHEMA = """
CREATE TABLE facts (id INTEGER PRIMARY KEY, at REAL NOT NULL, name TEXT NOT NULL, member TEXT, body TEXT NOT NULL) STRICT;
CREATE INDEX facts_at ON facts (at);
CREATE INDEX facts_member ON facts (member, id);
CREATE TABLE rollup (
  hour INTEGER NOT NULL, subject TEXT NOT NULL, vantage TEXT NOT NULL, probe TEXT NOT NULL,
  n INTEGER NOT NULL, success INTEGER NOT NULL, degraded INTEGER NOT NULL, failure INTEGER NOT NULL, unknown INTEGER NOT NULL,
  seconds REAL NOT NULL, longest REAL NOT NULL,
  PRIMARY KEY (hour, subject, vantage, probe)
) STRICT, WITHOUT ROWID;
CREATE TABLE small (room TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (room, key)) STRICT, WITHOUT ROWID;
"""

_ROLL = """
INSERT INTO rollup VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + 1, success = success + excluded.success, degraded = degraded + excluded.degraded,
  failure = failure + excluded.failure, unknown = unknown + excluded.unknown, seconds = seconds + excluded.seconds,
  longest = max(longest, excluded.longest)
"""

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""What no time mends, unlike a lock that another holds or a full disk."""

Write = tuple[str, tuple[object, ...]]


class SqliteStore:
    """The store in one file. `trouble` is called (from any thread) with one line when writing fails or is well again (`None`)."""

    def __init__(self, path: Path, trouble: Callable[[str | None], None] = lambda _: None) -> None:
        self.path = path
        self.set_aside: str = ""
        self.dropped = 0
        self._trouble = trouble
        self._queue: queue.Queue[Write | threading.Event | None] = queue.Queue(QUEUE_SIZE)
        self._small: dict[str, dict[str, str]] = {}
        self._failing = self._ready = False
        self._writer: sqlite3.Connection | None = None
        self._open()
        self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
        self._thread.start()

    # Opening.

    def _open(self) -> None:
        """Open or make the file; set a broken or newer one aside. Raises `StoreError` when no store can be had."""
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in _BROKEN:
                self._put_aside(f"unreadable ({error})")
            else:
                self._do_without(error)
        except _NewerError as error:
            self._put_aside(str(error))

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.aside-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        try:
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
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
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
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
            self._put((_ROLL, (int(fact.at // 3600), subject, fact.vantage, fact.check, *counts, seconds, seconds)))
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
            self._put(("DELETE FROM small WHERE room = ? AND key = ?", (room, key)))
        else:
            values[key] = value
            self._put(("INSERT OR REPLACE INTO small VALUES (?, ?, ?)", (room, key, value)))

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
            writes = [write for write in batch if isinstance(write, tuple)]
            if writes:
                self._write(writes)
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
        item = self._queue.get()
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
        """One transaction. A failure (full disk, read-only) loses this batch, counted, and is told once."""
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            for sql, values in writes:
                connection.execute(sql, values)  # pyright: ignore[reportArgumentType]
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreError, _NewerError) as error:
            self.dropped += len(writes)
            if self._writer is not None and self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if not self._failing:
                self._failing = True
                self._trouble(f"{self.path}: cannot be written: {error}")
            return
        if self._failing:
            self._failing = False
            self._trouble(None)

    def _opened(self) -> sqlite3.Connection:
        """The writer's own connection, made when it can be."""
        if not self._ready:
            self._prepare()
        if self._writer is None:
            self._writer = self._connect()
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
        return await asyncio.to_thread(read_facts, self.path, since=since, limit=limit, member=member)

    async def flush(self) -> None:
        """Return when everything recorded so far is on disk."""
        done = threading.Event()

        def wait() -> None:
            self._queue.put(done, timeout=5.0)
            done.wait(10.0)

        await asyncio.to_thread(wait)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._queue.put(None)
        self._thread.join(timeout=10.0)


def read_facts(path: Path, *, since: float | None = None, limit: int = 1000, member: str | None = None) -> list[dict[str, object]]:
    """The newest `limit` facts in a store file, oldest first. Works beside a running watchdog. Raises `StoreError`."""
    query = "SELECT body FROM facts WHERE at >= ? AND (? IS NULL OR member = ?) ORDER BY id DESC LIMIT ?"
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        try:
            rows = connection.execute(query, (since or 0.0, member, member, limit)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    return [json.loads(row[0]) for row in reversed(rows)]


class _NewerError(Exception):
    """The file was written by a newer mcpwatch."""
