"""`status`, `events` and `why`: asking the daemon, or the files it left, and printing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from mcpwatch.app.reasoning import FACTS, Document, causes, explain, gathered
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call, stream
from mcpwatch.cli.out import say, say_answer, say_json
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.status import event_line, named, only, render
from mcpwatch.cli.table import coloured, fit, paint, terminal_width
from mcpwatch.model.errors import McpwatchError, NoDaemon, UsageError, suggest
from mcpwatch.web.words import ago

HEALTH_WAIT = 8.0
"""Seconds in which a healthy watchdog answers; below the timeout of the image's health check."""


def show_status(names: Sequence[str] = (), *, as_json: bool, watch: bool, interval: float) -> int:
    """Print the status, once or until Ctrl-C; the exit code says whether all is healthy."""
    while True:
        try:
            document = _chosen(call("GET", "/status"), names)
        except NoDaemon:
            return _no_daemon(as_json=as_json)
        lines = [] if as_json else render(document, colour=coloured(), now=time.time(), width=terminal_width())
        if as_json or not watch:
            say_answer(document, lines, as_json=as_json)
            return exits.OK if document["healthy"] else exits.UNHEALTHY
        _redraw(lines)
        time.sleep(interval)


def _chosen(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The status of these members or routes alone, `healthy` when they are. Raises `UsageError` for an unknown name."""
    known = named(document)
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UsageError(f"no member or route '{unknown}'{suggest(unknown, known)}")
    return only(document, names)


def show_pid() -> int:
    """Print the process id of the running watchdog. Raises `NoDaemon`."""
    say(str(call("GET", "/status")["daemon"]["pid"]))
    return exits.OK


def show_health(*, daemon: bool, as_json: bool) -> int:
    """One line for health checks of containers and the like: of the watchdog itself (`daemon`), or of its fleet."""
    found: dict[str, Any] = {"healthy": False, "fleet": False, "reason": "", "down": []}
    try:
        found = call("GET", "/health", timeout=HEALTH_WAIT)
    except McpwatchError as error:
        found["reason"] = str(error)
    well = bool(found["healthy"] if daemon else found["healthy"] and found["fleet"])
    down = ", ".join(service["name"] for service in found["down"])
    reason: str = found["reason"] or (f"services that are down and are started again: {down}" if down else "")
    line = f"{'watchdog' if daemon else 'fleet'}: {'healthy' if well else 'unhealthy'}" + (f" ({reason})" if reason else "")
    say_answer(found, [line], as_json=as_json)
    return exits.OK if well else exits.UNHEALTHY


def _redraw(lines: list[str]) -> None:
    """Draw over the last picture on a terminal; below it elsewhere."""
    if not sys.stdout.isatty():
        say("\n".join(lines) + "\n")
        return
    import shutil

    width, height = shutil.get_terminal_size()
    shown = [fit(line, width) for line in lines[: height - 1]]
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    sys.stdout.flush()


def _no_daemon(*, as_json: bool) -> int:
    """No daemon answers: say so, and show the last known state."""
    if ControlSettings.url:
        print(f"mcpwatch: no mcpwatch answers on {ControlSettings.url}", file=sys.stderr)  # noqa: T201
        return exits.NO_DAEMON
    paths = ControlSettings.paths()
    known = _last_known()
    if as_json:
        say_json({"version": 1, "daemon": None, "members": [], "routes": [], "last_known": known})
        return exits.NO_DAEMON
    print(f"mcpwatch: no daemon is running on {paths.root}; start one with 'mcpwatch up'", file=sys.stderr)  # noqa: T201
    if known:
        say(f"last known state, {ago(time.time() - known['at'])} ago:")
        say()
        for line in render({**known, "stopped": True}, colour=coloured(), width=terminal_width()):
            say(line)
    return exits.NO_DAEMON


def _last_known() -> dict[str, Any] | None:
    try:
        return json.loads(ControlSettings.paths().status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def show_events(name: str | None, *, follow: bool, since: str | None, lines: int, as_json: bool) -> int:
    """Print facts: from the daemon, or from the store it left."""
    begin = since_epoch(since, time.time())
    query: dict[str, str] = {"limit": str(lines)}
    if begin is not None:
        query["since"] = str(begin)
    if name:
        query["member"] = name
    if follow:
        query["follow"] = "1"
    colour = coloured()
    try:
        for fact in stream("/events", **query):
            _print_fact(fact, as_json=as_json, colour=colour)
    except NoDaemon:
        from mcpwatch.store.history import read_facts

        path = ControlSettings.paths().store
        if follow or ControlSettings.url or not path.exists():
            raise
        for fact in read_facts(path, since=begin, limit=lines, member=name):
            _print_fact(fact, as_json=as_json, colour=colour)
    return exits.OK


def _print_fact(fact: dict[str, Any], *, as_json: bool, colour: bool) -> None:
    line = json.dumps(fact, ensure_ascii=False) if as_json else event_line(fact, colour=colour)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show_why(name: str, *, as_json: bool) -> int:
    """Print the reasoning about one member or route. Exit 0 when nothing is wrong with it, 1 otherwise."""
    status: Document = call("GET", "/status")
    facts = list(stream("/events", limit=str(FACTS), since=str(time.time() - 24 * 3600)))
    lines = [] if as_json else explain(name, status, facts, mark=lambda text: paint(text, "red", on=coloured()))
    say_answer(gathered(name, status, facts), lines, as_json=as_json)
    return exits.UNHEALTHY if causes(name, status) else exits.OK
