"""`report`: what was promised and what was measured; from the daemon's store, or from a watchdog on another machine."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mcpwatch.app.paths import StatePaths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.table import coloured, paint, table
from mcpwatch.model.errors import ConfigError, NoDaemon, UsageError
from mcpwatch.web.page.report_view import report_html, report_tables

if TYPE_CHECKING:
    from mcpwatch.web.spec import ObjectivesSpec


def show_report(*, since: str, html: Path | None, as_json: bool) -> int:
    """Print the table, the JSON, or write the page. Exit 1 when an objective is missed."""
    found = _report(since_epoch(since, time.time()) or 0.0)
    if as_json:
        say_json(found)
    elif html is not None:
        _write(html, report_html(found))
    else:
        _print(report_tables(found))
    return exits.OK if found["met"] else exits.UNHEALTHY


def _report(since: float) -> dict[str, Any]:
    """From the daemon, which knows its present hour and its promises; else from the store and the configuration that it left."""
    try:
        return call("GET", f"/objectives?{urlencode({'since': str(since)})}")
    except NoDaemon:
        if ControlSettings.url:
            raise
    from mcpwatch.app.answers import reported
    from mcpwatch.web.objectives.report import to_json

    paths = ControlSettings.paths()
    if not paths.store.exists():
        raise UsageError(f"nothing has been recorded in {paths.root} yet; start a fleet with 'mcpwatch up'")
    return to_json(reported(paths, _promised(paths), since=since, now=time.time()))


def _promised(paths: StatePaths) -> ObjectivesSpec:
    """What the file promises from which the fleet ran last; where it cannot be read, the defaults, and that is said."""
    from mcpwatch.app.kinds import all_kinds
    from mcpwatch.config.load import load_plan
    from mcpwatch.web.spec import ObjectivesSpec

    try:
        file = Path(json.loads(paths.status.read_text(encoding="utf-8"))["daemon"]["config"])
        return ObjectivesSpec.or_default(load_plan(file, all_kinds(), dict(os.environ), paths.root).section("objectives"))
    except (OSError, ValueError, LookupError, TypeError, ConfigError) as error:
        sys.stderr.write(
            f"held against the default objectives: the configuration of this fleet cannot be read ({type(error).__name__})\n"
        )
        return ObjectivesSpec()  # pyright: ignore[reportCallIssue]


def _print(found: dict[str, Any]) -> None:
    colour = coloured()
    say(f"from {found['since']} to {found['until']}")
    say()
    shades = {"met": "green", "missed": "red", "unknown": "grey"}
    head = ("ROUTE", "OBJECTIVE", "PROMISED", "MEASURED", "MET", "BUDGET", "FROM")
    rows = [
        (
            route,
            one["name"],
            one["target"],
            one["measured"],
            paint(one["met"], shades[one["met"]], on=colour),
            one["budget"] or "–",
            one["samples"],
        )
        for route, cells in found["objectives"]
        for one in cells
    ]
    for line in table(head, rows, colour=colour, right=(2, 3, 5)):
        say(line)
    say()
    head = ("ROUTE", "OUTAGES", "DOWN", "ANNOUNCED", "UNKNOWN", "WORST", "DETECTED", "REPAIRED")
    keys = ("route", "outages", "down", "announced", "unknown", "worst", "detect", "repair")
    rows = [tuple(str(one[key]) for key in keys) for one in found["outages"]]
    for line in table(head, rows, colour=colour, right=(1, 2, 3, 4)):
        say(line)


def _write(path: Path, text: str) -> None:
    if str(path) == "-":
        say(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}")
