"""The tables of the store, the statements that write them, and the counts of checks that are collected before they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcpwatch.model.fact import ProbeFinished

VERSION = 1
"""Of the tables; kept as `user_version` of the file."""

Write = tuple[str, tuple[object, ...]]
"""A statement and its values."""

SCHEMA = """
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

ROLL = """
INSERT INTO rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + excluded.n, success = success + excluded.success, degraded = degraded + excluded.degraded,
  failure = failure + excluded.failure, unknown = unknown + excluded.unknown, seconds = seconds + excluded.seconds,
  longest = max(longest, excluded.longest)
"""

PUT = "INSERT OR REPLACE INTO small VALUES (?, ?, ?)"
DROP = "DELETE FROM small WHERE room = ? AND key = ?"


def small(room: str, key: str, value: str | None) -> Write:
    """What brings one small value to disk, or drops it (`None`)."""
    return (DROP, (room, key)) if value is None else (PUT, (room, key, value))


EVERY = 5.0
"""Seconds for which counts are collected: what a crash may lose of them."""
OUTCOMES = ("success", "degraded", "failure", "unknown")
"""In the order of their columns."""


class CheckCounts:
    """What finished checks add to the hourly counts. `write` is called with each row, in the thread that records."""

    def __init__(self, write: Callable[[Write], None]) -> None:
        self._write = write
        self._rows: dict[tuple[int, str, str, str], list[float]] = {}
        self._due: asyncio.TimerHandle | None = None

    def add(self, fact: ProbeFinished) -> None:
        """Count one check, in the hour in which it finished; written in a while, or at once where no loop runs."""
        key = (int(fact.at // 3600), fact.route or fact.member, fact.vantage, fact.check)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0.0] * (len(OUTCOMES) + 3)
        seconds = fact.result.seconds
        row[0] += 1
        row[1 + OUTCOMES.index(fact.outcome)] += 1
        row[-2] += seconds
        row[-1] = max(row[-1], seconds)
        if self._due is None:
            try:
                self._due = asyncio.get_running_loop().call_later(EVERY, self.put)
            except RuntimeError:
                self.put()

    def put(self) -> None:
        """Have what was counted so far written."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        rows, self._rows = self._rows, {}
        for key, row in rows.items():
            self._write((ROLL, (*key, *map(int, row[:-2]), *row[-2:])))
