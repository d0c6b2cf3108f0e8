"""`history`: how each check did over the last hours or days, told by the watchdog, or read from the store where none runs."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from mcpwatch.cli import exits
from mcpwatch.cli.control import TIMEOUT, ControlSettings, call
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.table import coloured, table
from mcpwatch.model.errors import McpwatchError, UsageError
from mcpwatch.model.time import WallTime, iso
from mcpwatch.store.history import StoredHistory, read_history

ANSWER_WAIT = 5.0
"""Seconds that a watchdog of this machine has to answer: what is in the store can be read without it."""


def show_history(name: str | None, *, since: str, as_json: bool) -> int:
    """Print one line per check and vantage."""
    begin = since_epoch(since, time.time()) or 0.0
    found = _asked(name, begin, TIMEOUT) if ControlSettings.url else _here(name, begin)
    shown = [{**dataclasses.asdict(one), "worst_hour": iso(one.worst_hour) if one.worst_hour else None} for one in found]
    head = ("NAME", "VANTAGE", "CHECK", "PROBES", "FAILED", "GOOD", "MEAN", "LONGEST", "WORST HOUR")
    lines = table(head, [_row(one) for one in found], colour=coloured(), right=(3, 4, 5, 6, 7))
    say_answer(shown, lines if found else [f"no probe of {name or 'anything'} since then"], as_json=as_json)
    return exits.OK


def _here(name: str | None, begin: float) -> list[StoredHistory]:
    """Of this machine: a watchdog that runs counts what it has not written yet; else, or where it is late, the store tells."""
    paths = ControlSettings.paths()
    try:
        return _asked(name, begin, ANSWER_WAIT)
    except McpwatchError:
        if not paths.store.exists():
            raise UsageError(f"nothing has been recorded in {paths.root} yet; start a fleet with 'mcpwatch up'") from None
        return read_history(paths.store, since=begin, subject=name)


def _asked(name: str | None, begin: float, wait: float) -> list[StoredHistory]:
    """As a watchdog tells it. Raises `McpwatchError`."""
    query = {"since": str(begin)} | ({"name": name} if name else {})
    found: list[dict[str, Any]] = call("GET", f"/history?{urlencode(query)}", timeout=wait)
    for one in found:
        one["worst_hour"] = WallTime(datetime.fromisoformat(one["worst_hour"]).timestamp()) if one["worst_hour"] else None
    return [StoredHistory(**one) for one in found]


def _row(one: StoredHistory) -> tuple[str, ...]:
    worst = f"{iso(one.worst_hour)[:13]}h {_percent(one.worst_share)}" if one.worst_hour else ""
    times = (f"{one.mean * 1000:.0f} ms", f"{one.longest * 1000:.0f} ms")
    return (one.subject, one.vantage, one.check, str(one.probes), str(one.failures), _percent(one.share), *times, worst)


def _percent(share: float) -> str:
    """Never 100 % where something failed."""
    return "100 %" if share == 1 else f"{min(share * 100, 99.99):.2f} %"
