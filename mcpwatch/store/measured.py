"""What was measured of each route hour by hour: seconds good, bad and announced as columns, the rest as the text of its owner.

Reads the store file beside whoever writes it. It must not know what the text means.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcpwatch.model.errors import StoreError

SCHEMA = """
CREATE TABLE IF NOT EXISTS measured (
  hour INTEGER NOT NULL, subject TEXT NOT NULL, good REAL NOT NULL, bad REAL NOT NULL, announced REAL NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (hour, subject)
) STRICT, WITHOUT ROWID
"""
"""Made where it is missing: an older mcpwatch leaves it alone, so the version of the store stays."""

KEEP = "INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?, ?)"
_ROWS = "SELECT subject, hour, body FROM measured WHERE hour >= ? AND (? IS NULL OR subject = ?)"
_SECONDS = "SELECT subject, hour, good, bad, announced FROM measured WHERE hour >= ? AND hour < ?"
_SUMS = "SELECT subject, sum(good), sum(bad) FROM measured WHERE hour >= ? GROUP BY subject"
_LATEST = """
SELECT subject, max(hour), body FROM measured
WHERE hour >= ? AND (bad > 0 OR announced > 0) AND instr(body, ?) > 0 GROUP BY subject
"""
_FACTS = """
SELECT id, body FROM facts WHERE (? IS NULL OR id < ?) AND at >= ? AND (? IS NULL OR member = ?) AND (? IS NULL OR name = ?)
ORDER BY id DESC LIMIT ?
"""


def read_measured(path: Path, *, hour: int, subject: str | None = None) -> list[tuple[str, int, str]]:
    """`(subject, hour, text)` from that hour on. Raises `StoreError`."""
    return _read(path, _ROWS, (hour, subject, subject))


def each_measured(path: Path, *, hour: int) -> Iterator[tuple[str, int, str]]:
    """The same one by one, for windows of many rows. Raises `StoreError`."""
    return _each(path, _ROWS, (hour, None, None))


def read_seconds(path: Path, *, first: int, before: int) -> list[tuple[str, int, float, float, float]]:
    """`(subject, hour, good, bad, announced)` of those hours. Raises `StoreError`."""
    return _read(path, _SECONDS, (first, before))


def read_sums(path: Path, *, hour: int) -> dict[str, tuple[float, float]]:
    """Seconds good and bad by subject, from that hour on. Raises `StoreError`."""
    return {subject: (good, bad) for subject, good, bad in _read(path, _SUMS, (hour,))}


def read_latest(path: Path, *, hour: int, holding: str) -> dict[str, str]:
    """By subject the text of its latest hour, from that hour on, that had trouble and holds these letters. Raises `StoreError`."""
    return {subject: text for subject, _, text in _read(path, _LATEST, (hour, holding))}


def read_page(
    path: Path, *, before: int | None, since: float, member: str | None, name: str | None, limit: int
) -> list[tuple[int, str]]:
    """`(id, JSON text)` of facts, newest first, of those recorded before fact `before`. Raises `StoreError`."""
    return _read(path, _FACTS, (before, before, since, member, member, name, name, limit))


def _read(path: Path, query: str, values: tuple[object, ...]) -> list[Any]:
    return list(_each(path, query, values))


def _each(path: Path, query: str, values: tuple[object, ...]) -> Iterator[Any]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
            yield from connection.execute(query, values)  # pyright: ignore[reportArgumentType]
    except sqlite3.Error as error:
        if "no such table" not in str(error):  # written by an mcpwatch that measured nothing yet
            raise StoreError(f"{path}: cannot be read: {error}") from error
