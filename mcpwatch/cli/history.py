"""`history`: how each check did over the last hours or days, read from the store; needs no daemon."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from mcpwatch.app.paths import state_paths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.table import coloured, table
from mcpwatch.model.errors import UsageError
from mcpwatch.model.time import WallTime, iso
from mcpwatch.store.history import StoredHistory, read_history


def show_history(name: str | None, *, since: str, as_json: bool) -> int:
    """Print one line per check and vantage."""
    if ControlSettings.url:
        return _remote(name, since=since, as_json=as_json)
    path = state_paths(ControlSettings.state_dir).store
    begin = since_epoch(since, time.time())
    if not path.exists():
        raise UsageError(f"nothing has been recorded in {path.parent} yet; start a fleet with 'mcpwatch up'")
    found = read_history(path, since=begin or 0.0, subject=name)
    if as_json:
        say_json([{**dataclasses.asdict(one), "worst_hour": iso(one.worst_hour) if one.worst_hour else None} for one in found])
        return exits.OK
    _print(found, name)
    return exits.OK


def _remote(name: str | None, *, since: str, as_json: bool) -> int:
    """The same from a watchdog on another machine."""
    query = {"since": str(since_epoch(since, time.time()) or 0.0)} | ({"name": name} if name else {})
    found: list[dict[str, Any]] = call("GET", f"/history?{urlencode(query)}")
    if as_json:
        say_json(found)
        return exits.OK
    for one in found:
        one["worst_hour"] = WallTime(datetime.fromisoformat(one["worst_hour"]).timestamp()) if one["worst_hour"] else None
    _print([StoredHistory(**one) for one in found], name)
    return exits.OK


def _print(found: list[StoredHistory], name: str | None) -> None:
    if not found:
        say(f"no probe of {name or 'anything'} since then")
        return
    head = ("NAME", "VANTAGE", "CHECK", "PROBES", "FAILED", "GOOD", "MEAN", "LONGEST", "WORST HOUR")
    for line in table(head, [_row(one) for one in found], colour=coloured(), right=(3, 4, 5, 6, 7)):
        say(line)


def _row(one: StoredHistory) -> tuple[str, ...]:
    worst = f"{iso(one.worst_hour)[:13]}h {_percent(one.worst_share)}" if one.worst_hour else ""
    times = (f"{one.mean * 1000:.0f} ms", f"{one.longest * 1000:.0f} ms")
    return (one.subject, one.vantage, one.check, str(one.probes), str(one.failures), _percent(one.share), *times, worst)


def _percent(share: float) -> str:
    """Never 100 % where something failed."""
    return "100 %" if share == 1 else f"{min(share * 100, 99.99):.2f} %"
