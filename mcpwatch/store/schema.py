"""The tables of the store and the statements that write them. Pure text."""

from __future__ import annotations

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
INSERT INTO rollup VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + 1, success = success + excluded.success, degraded = degraded + excluded.degraded,
  failure = failure + excluded.failure, unknown = unknown + excluded.unknown, seconds = seconds + excluded.seconds,
  longest = max(longest, excluded.longest)
"""

PUT = "INSERT OR REPLACE INTO small VALUES (?, ?, ?)"
DROP = "DELETE FROM small WHERE room = ? AND key = ?"


def small(room: str, key: str, value: str | None) -> Write:
    """What brings one small value to disk, or drops it (`None`)."""
    return (DROP, (room, key)) if value is None else (PUT, (room, key, value))
