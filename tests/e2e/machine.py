"""A machine whose first process is a real systemd: a container of the image of `.ci/parts systemd`, with the code of this tree."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Generator
from typing import Any

from tests.parts import ROOT

IMAGE = "mcpwatch-systemd:test"
STATE = "/var/lib/mcpwatch"
CONFIG = "/etc/mcpwatch/mcpwatch.yaml"
PACKAGE = "/opt/mcpwatch/lib/python3.11/site-packages/mcpwatch"
WAIT = 180.0
"""Seconds; a watchdog that systemd finds hung is restarted after 30."""
OPTIONS = (
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/run/lock"),
)
"""What systemd needs of an engine, and no more: it mounts its own cgroups."""


class Machine:
    """One running container."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it, whatever its exit code."""
        command = ["docker", "exec", *(("-i",) if stdin is not None else ()), self.name, *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=WAIT, check=False)

    def do(self, *argv: str, stdin: str | None = None) -> str:
        """Run a command in it that must succeed; what it printed."""
        done = self.run(*argv, stdin=stdin)
        assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stderr or done.stdout}\n{self.journal()}"
        return done.stdout

    def up(self) -> None:
        """Wait until its systemd has come up."""
        deadline = time.monotonic() + WAIT
        while self.run("systemctl", "is-system-running", "--wait").stdout.strip() not in ("running", "degraded"):
            assert time.monotonic() < deadline, "systemd did not come up"

    def journal(self) -> str:
        """The last that the unit and systemd said of it."""
        return self.run("journalctl", "--no-pager", "-n", "40", "-u", "mcpwatch").stdout

    def shown(self, *names: str) -> dict[str, str]:
        """Properties of the unit."""
        text = self.do("systemctl", "show", "mcpwatch", *(f"-p{name}" for name in names))
        return dict(line.split("=", 1) for line in text.splitlines())

    def status(self) -> dict[str, Any]:
        """The status document, empty while nobody answers."""
        done = self.run("mcpwatch", "--state-dir", STATE, "status", "--json")
        with contextlib.suppress(ValueError):
            found = json.loads(done.stdout)
            if found["daemon"]:  # without one, it shows what was last known
                return found
        return {"daemon": {"pid": 0}, "members": []}

    def wait(self, until: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Ask for the status until a condition holds."""
        deadline = time.monotonic() + WAIT
        while True:
            status = self.status()
            if until(status):
                return status
            assert time.monotonic() < deadline, f"not in {WAIT:g}s: {what}\n{self.journal()}"


@contextlib.contextmanager
def booted(*options: str) -> Generator[Machine]:
    """Boot one with these options of `docker run`; gone afterwards, with everything that ran in it."""
    found = Machine(f"mcpwatch-systemd-{uuid.uuid4().hex[:8]}")
    try:
        argv = ["docker", "run", "-d", "--name", found.name, *OPTIONS, *options, IMAGE]
        begun = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT, check=False)
        assert begun.returncode == 0, begun.stderr.strip()
        found.up()
        yield found
    finally:
        subprocess.run(["docker", "rm", "-f", found.name], capture_output=True, timeout=WAIT, check=False)


@contextlib.contextmanager
def machine(config: dict[str, Any]) -> Generator[Machine]:
    """Boot it without a network, with a configuration in place."""
    with booted("--network", "none", "-v", f"{ROOT / 'mcpwatch'}:{PACKAGE}:ro") as found:
        found.do("install", "-D", "/dev/stdin", CONFIG, stdin=json.dumps(config))
        yield found
