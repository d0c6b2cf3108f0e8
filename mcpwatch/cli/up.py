"""`up`: the daemon in this process with a live table or plain lines, or a daemon in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from mcpwatch.app.assembly import Options
from mcpwatch.app.daemon import Daemon
from mcpwatch.app.paths import config_file
from mcpwatch.app.plan_reader import apart, read_file
from mcpwatch.cli import exits
from mcpwatch.cli.begin import Handover, hand_over, run
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say
from mcpwatch.model.errors import McpwatchError, NoDaemon
from mcpwatch.model.spec import Plan
from mcpwatch.telemetry.logs import LogFormat
from mcpwatch.web.words import fleet_state

DETACH_WAIT = 15.0
START_WAIT = 120.0
"""Seconds that `--wait` gives a fleet to start."""


def run_here(config: Path | None, *, plain: bool, log_format: str, watch: bool) -> int:
    """Run the daemon until it is told to stop."""
    live = sys.stdout.isatty() and not plain and log_format in ("auto", "human") and os.environ.get("TERM") != "dumb"
    file, paths = config_file(config), ControlSettings.paths()
    read = partial(_read, file, paths.root)
    plan, warned = read() if Handover.target is not None else apart(file, read)  # before there are threads
    for words in warned:
        print(f"mcpwatch: warning: {words}", file=sys.stderr)  # noqa: T201
    options = Options(file, paths, watch, live, _format(log_format))
    hand_over(options, plan)
    return run(options, plan)


def _read(file: Path, state: Path) -> tuple[Plan, list[str]]:
    """The plan, and what is told of foreign programs that are too old for it. Raises `ConfigError`."""
    from mcpwatch.cli.versions import warnings

    loaded, plan = read_file(file, state)
    return plan, warnings(loaded, plan, os.environ)


def rehearse_here(config: Path | None) -> int:
    """Load what a daemon needs and go: what is asked of new code before it takes over from old."""
    Daemon(Options(config_file(config), ControlSettings.paths())).rehearse()
    return exits.OK


def _format(word: str) -> LogFormat | None:
    formats: dict[str, LogFormat] = {"auto": "auto", "human": "human", "json": "json"}
    return formats.get(word)


def run_detached(config: Path | None, *, watch: bool, wait: bool = False) -> int:
    """Start the daemon in the background and return once it answers or, with `wait`, once the fleet has started."""
    file, paths = config_file(config), ControlSettings.paths()
    paths.make()
    log = paths.root / "mcpwatch.log"
    argv = [sys.executable, "-m", "mcpwatch", "--state-dir", str(paths.root), "up", "--plain", "-c", str(file.absolute())]
    with log.open("ab") as output:
        begun = output.tell()
        child = subprocess.Popen(
            [*argv, *(() if watch else ("--no-watch-config",))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    pid = _answering(child, log, begun)
    say(f"mcpwatch: running, pid {pid}, state in {paths.root}, log in {log}")
    return _started() if wait else exits.OK


def _started() -> int:
    """Wait until the fleet is healthy, or stays wrong: exit 0 or 1."""
    deadline = time.monotonic() + START_WAIT
    state = "starting"
    while state != "healthy" and time.monotonic() < deadline:
        time.sleep(0.2)
        state = fleet_state(call("GET", "/status"))
    say(f"mcpwatch: the fleet is {state}" + ("" if state == "healthy" else "; see 'mcpwatch status'"))
    return exits.OK if state == "healthy" else exits.UNHEALTHY


def _answering(child: subprocess.Popen[bytes], log: Path, begun: int) -> int:
    """The pid once the new daemon answers. Raises what it said when it ended instead."""
    deadline = time.monotonic() + DETACH_WAIT
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            said = log.read_bytes()[begun:].decode(errors="replace").strip() or f"ended with code {code}"
            failure = McpwatchError(said.removeprefix("mcpwatch: "))
            failure.exit_code = code
            raise failure
        try:
            if call("GET", "/status", timeout=2.0)["daemon"]["pid"] == child.pid:
                return child.pid
        except (NoDaemon, McpwatchError):
            pass
        time.sleep(0.05)
    raise McpwatchError(f"the daemon (pid {child.pid}) does not answer after {DETACH_WAIT:g}s; see {log}")
