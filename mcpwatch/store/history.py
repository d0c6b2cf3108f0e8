"""Facts and the hourly counts of probes, read back: how a member or route did over hours and days, without any Prometheus.

Reads the store file beside whoever writes it; the counting itself is one row an hour and check, done by `sqlite`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mcpwatch.model.errors import StoreError
from mcpwatch.model.time import WallTime

HOUR = 3600
_QUERY = """
SELECT subject, vantage, probe, hour, n, success + degraded, failure, seconds, longest FROM rollup
WHERE hour >= ? AND (? IS NULL OR subject = ?) ORDER BY subject, vantage, probe, hour
"""

Row = tuple[str, str, str, int, int, int, int, float, float]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """How one check did from one vantage. Times in seconds; `share` of the probes that could tell, 1 when none could.

    `worst_hour` is when the hour with the smallest share began, `None` when every hour was good.
    """

    subject: str
    vantage: str
    check: str
    probes: int
    failures: int
    share: float
    mean: float
    longest: float
    worst_hour: WallTime | None
    worst_share: float


def read_history(path: Path, *, since: float, subject: str | None = None) -> list[StoredHistory]:
    """One entry per check and vantage with probes in or after the hour of `since`. Raises `StoreError`."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        try:
            rows: list[Row] = connection.execute(_QUERY, (int(since // HOUR), subject, subject)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    return [_summed(list(hours)) for _, hours in groupby(rows, key=lambda row: row[:3])]


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


def _summed(hours: list[Row]) -> StoredHistory:
    subject, vantage, check = hours[0][:3]
    probes = sum(row[4] for row in hours)
    worst = min(hours, key=lambda row: _share([row]))
    bad = _share([worst]) < 1
    return StoredHistory(
        subject,
        vantage,
        check,
        probes,
        failures=sum(row[6] for row in hours),
        share=_share(hours),
        mean=sum(row[7] for row in hours) / probes,
        longest=max(row[8] for row in hours),
        worst_hour=WallTime(worst[3] * HOUR) if bad else None,
        worst_share=_share([worst]),
    )


def _share(hours: Iterable[Row]) -> float:
    good, failed = 0, 0
    for row in hours:
        good, failed = good + row[5], failed + row[6]
    return good / (good + failed) if good + failed else 1.0
