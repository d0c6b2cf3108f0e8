"""The durable memory: facts, probe roll-ups and small values of the rooms, in SQLite (WAL). Implements `ports.Store`.

One writer thread takes a bounded queue in batches, so that recording never blocks the loop; readers use connections of their own.
A store that only cannot be written now is waited for, and nothing waits with it; small values are kept in mind until that is over.
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
from mcpwatch.store.file import BUSY_WAIT, StoreFile
from mcpwatch.store.history import read_facts
from mcpwatch.store.measured import KEEP
from mcpwatch.store.schema import DROP, PUT, CheckCounts, Write, small

QUEUE_SIZE = 20_000
BATCH = 500
KEEP_FACTS = 200_000
"""Facts kept; the oldest go first."""

KEEP_PROBES_DAYS = 30
PRUNE_EVERY = 3600.0
RETRY = 5.0
"""Seconds after which small values that could not be written are tried again, whatever else happens."""


class SqliteStore(StoreFile):
    """The store in one file. `trouble` is called (from any thread) with one line when writing fails or is well again (`None`)."""

    def __init__(self, path: Path, trouble: Callable[[str | None], None] = lambda _: None) -> None:
        super().__init__(path, trouble)
        self.dropped = 0
        self._queue: queue.Queue[Write | threading.Event | None] = queue.Queue(QUEUE_SIZE)
        self._counts = CheckCounts(self._put)
        self._open()
        self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
        self._thread.start()

    # Writing.

    def record(self, fact: Fact) -> None:
        """Keep a fact; a successful probe is only rolled up, so that the list stays readable."""
        if isinstance(fact, ProbeFinished):
            self._counts.add(fact)
            if fact.outcome == "success":
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

    def _begin_anew(self, why: str) -> None:
        """Set the broken file aside and write the next batch into a new one."""
        self._shut()
        with contextlib.suppress(StoreError):
            self._put_aside(why)
            self._remember_all()
            self._write([])

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
        self._counts.put()
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
        """Write what waits and end the thread. In the thread that records."""
        self._counts.put()
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=5.0)
        self._thread.join(timeout=10.0)
