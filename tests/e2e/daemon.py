"""A real daemon for tests: `mcpwatch up` as a process of its own, with a state directory and ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tests.e2e.patience import Patience
from tests.parts import SERVERS

PYTHON = sys.executable
WAIT = 90.0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """One running watchdog and the commands to it."""

    def __init__(self, directory: Path, config: str | dict[str, Any]) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.config = directory / "fleet.yaml"
        self.write(config)
        self.output = directory / "out.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.wrap: list[str] = []
        """A command that runs the watchdog, e.g. a shell that sets limits first."""
        self.env = {**os.environ, "MCPWATCH_STATE_DIR": str(self.state), "PATH": f"{SERVERS}:{os.environ['PATH']}", "NO_COLOR": "1"}

    def write(self, config: str | dict[str, Any]) -> None:
        """Write the configuration file, at once and whole; without a status page unless the test asks for one."""
        text = config if isinstance(config, str) else json.dumps(_without_page(config))
        if isinstance(config, str) and not re.search(r"^web:|^\s*\{", config, re.MULTILINE):
            text = f"{config.rstrip()}\nweb: false\n"
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.config)

    def start(self, *options: str) -> Daemon:
        """Run `mcpwatch up` and wait until it answers."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.wrap, PYTHON, "-m", "mcpwatch", "up", "--plain", "-c", str(self.config), *options],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        pid = self.process.pid
        self.wait(lambda status: status["daemon"]["pid"] == pid, "the daemon answers")
        return self

    def run(self, *args: str, timeout: float = 60.0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of mcpwatch."""
        command = [PYTHON, "-m", "mcpwatch", *args]
        return subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def status(self) -> dict[str, Any]:
        """The status document; without a daemon, one whose daemon is pid 0."""
        from mcpwatch.cli.control import ControlSettings, call
        from mcpwatch.model.errors import McpwatchError

        ControlSettings.state_dir = self.state
        try:
            return call("GET", "/status", timeout=10.0)
        except McpwatchError:
            return {"daemon": {"pid": 0}, "members": [], "routes": [], "healthy": False, "diagnoses": []}

    def member(self, name: str) -> dict[str, Any]:
        """One member of the status."""
        return next(member for member in self.status()["members"] if member["name"] == name)

    def route(self, name: str) -> dict[str, Any]:
        """One route of the status."""
        return next(route for route in self.status()["routes"] if route["name"] == name)

    def wait(self, until: Callable[[dict[str, Any]], object], what: str, timeout: float = WAIT) -> dict[str, Any]:
        """Ask for the status until a condition holds. Fails with what the daemon said when it does not in time."""
        patience = self.patience(timeout)
        pause = 0.02
        while True:
            status = self.status()
            with contextlib.suppress(LookupError, StopIteration):
                if until(status):
                    return status
            if self.process is not None and self.process.poll() is not None and status["daemon"]["pid"] == 0:
                raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.said()}")
            if patience.over():
                shown = json.dumps({key: status[key] for key in ("members", "routes", "diagnoses")}, indent=1)[:4000]
                raise AssertionError(f"not in {timeout}s: {what}\n{self.said()[-4000:]}\n{shown}")
            time.sleep(pause)

    def patience(self, seconds: float = WAIT) -> Patience:
        """A bound of its time and that of all it carries: longer on a starved machine."""
        return Patience(seconds, lambda: [*self.marked(), *([self.process.pid] if self.process else [])])

    def healthy(self, timeout: float = WAIT) -> dict[str, Any]:
        """Wait until all is healthy."""
        return self.wait(lambda status: status["healthy"], "all is healthy", timeout)

    def events(self) -> list[dict[str, Any]]:
        """Every recorded fact."""
        done = self.run("events", "--json", "-n", "100000")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def said(self) -> str:
        """What the daemon printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        patience = self.patience()
        self.process.send_signal(number)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(1.0)
            assert not patience.over(), f"it does not end on signal {number}: {self.said()[-4000:]}"

    def close(self) -> None:
        """End everything of this daemon: it, or, when it was killed, what it left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(WAIT)
        for pid in self.marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def marked(self) -> list[int]:
        """Living processes that carry the mark of this daemon's state directory: what must be none after a stop."""
        from mcpwatch.app.paths import StatePaths

        mark = f"MCPWATCH_MARK={StatePaths(self.state).instance}/".encode()
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if stat != "Z" and mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found


def _without_page(config: dict[str, Any]) -> dict[str, Any]:
    """Daemons of tests run side by side, and would all want the default port of the page."""
    foreign = {"mcpServers", "mcpProxy"} & config.keys()
    return config if foreign or "web" in config else {**config, "web": False}


@contextlib.contextmanager
def running(directory: Path, config: str | dict[str, Any], *options: str) -> Generator[Daemon]:
    """A daemon for the time of a test; nothing of it lives afterwards."""
    daemon = Daemon(directory, config)
    try:
        yield daemon.start(*options)
    finally:
        daemon.close()
