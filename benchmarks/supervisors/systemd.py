"""systemd-run as a peer: on this machine's own systemd, or else on one that is PID 1 of a container, which the benchmark starts.

The container shares this machine's network and the benchmark's files, so everything is measured from the same side; a bare start is
measured inside it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import subprocess
from contextlib import ExitStack
from pathlib import Path

from benchmarks.supervisors import bare
from benchmarks.supervisors.peer import Commands, Peer
from benchmarks.supervisors.tiny import TABLE, next_death, servers, wait_for
from tests.e2e.daemon import free_port
from tests.e2e.machine import Machine, booted
from tests.parts import missing

NATIVE = Path("/run/systemd/system").exists()
"""Whether this machine's first process is systemd."""


class SystemdRun(Peer):
    """A transient service for every command. Only the limit of starts is lifted, as it is for every peer that has one."""

    name = "systemd-run"
    place = "here" if NATIVE else "in systemd's container"
    properties: tuple[str, ...] = ("Restart=always", "StartLimitIntervalSec=0", "TimeoutStopSec=1")

    def __init__(self, directory: Path, commands: Commands) -> None:
        super().__init__(directory, commands)
        self._end = ExitStack()
        self._machine: Machine | None = None
        self._bare: subprocess.Popen[str] | None = None
        self._units = {name: f"mwbench-{os.getpid()}-{directory.name}-{name}" for name in commands}

    @classmethod
    def missing(cls) -> str:
        if NATIVE:
            return "" if os.geteuid() == 0 else "systemd is PID 1 here, but takes no units from us: needs root"
        if reason := missing("docker") or missing("systemd") or _unbootable():
            return f"systemd is not PID 1 here, and in a container it cannot be had: {reason}"
        return ""

    def boot(self) -> None:
        if not NATIVE:
            mounts = {self.directory.parent, Path(bare.__file__).parent}
            volumes = [word for place in mounts for word in ("-v", f"{place}:{place}")]
            self._machine = self._end.enter_context(booted("--network", "host", *volumes))

    def run(self) -> None:
        given = [f"--property={pair}" for pair in self.properties]
        given += [f"--setenv={name}={value}" for name, value in self.env().items() if name == "TINY_STARTS"]
        script = self.directory / "start.sh"
        lines = (
            shlex.join(["systemd-run", "--quiet", f"--unit={self._units[name]}", *given, "--", *argv])
            for name, argv in self.commands.items()
        )
        script.write_text("\n".join(["set -e", *lines, ""]))
        self._do("sh", str(script))

    def own(self) -> set[int]:
        """PID 1, and the journal that takes the services' output."""
        first = self._first()
        return {first} | self.children_of({first}, "systemd-journal")

    def real(self, pid: int) -> int:
        if not self._machine:
            return pid
        for found in TABLE.scan().descend({self._first()}):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{found}/status").read_text()
                if next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1] == str(pid):
                    return found
        raise ProcessLookupError(f"no process calls itself {pid} in {self._machine.name}")

    def bare(self, program: str) -> float:
        if not self._machine:
            return super().bare(program)
        if not self._bare:
            argv = ["docker", "exec", "-i", self._machine.name, "python3", bare.__file__, program]
            pipe = subprocess.PIPE
            self._bare = self._end.enter_context(subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True))
        assert self._bare.stdin
        assert self._bare.stdout
        self._bare.stdin.write(f"{free_port()}\n")
        self._bare.stdin.flush()
        return float(self._bare.stdout.readline())

    def stop_all(self) -> None:
        self._do("systemctl", "stop", *self._units.values())

    def kill(self) -> None:
        """End the services, and the machine where it is ours: nobody can do that to the supervisor."""
        if not self._machine:
            for words in (("kill", "--signal=KILL"), ("stop",), ("reset-failed",)):
                self.call("systemctl", *words, *self._units.values())
        self._end.close()

    def unkillable(self, program: str, port: int) -> str:
        if not self._machine:
            return "not tried: it is PID 1 of this machine, for which the kernel ignores SIGKILL"
        first, began = bare.answer(port), TABLE.look(self._first())
        self._machine.do("sh", "-c", "kill -KILL 1")
        ignored = bare.answer(port) == first and TABLE.look(self._first()) == began
        words = "PID 1: SIGKILL from within is ignored" if ignored else "PID 1: SIGKILL from within did something"
        self._machine.do("systemctl", "daemon-reexec")
        words += f"; daemon-reexec: {'kept' if bare.answer(port) == first else 'restarted'}"
        words += f", {next_death(port, self.real(first))}"
        subprocess.run(["docker", "kill", "--signal", "KILL", self._machine.name], check=True, capture_output=True)
        gone = wait_for(lambda: not servers(program))
        words += f"; SIGKILL from outside the container: {'dies with it' if gone else 'survives'}"
        subprocess.run(["docker", "start", self._machine.name], check=True, capture_output=True)
        self._machine.up()
        return words + (", started again" if servers(program) else ", not started again (the units were transient)")

    def _do(self, *argv: str) -> None:
        """Run a command beside its systemd; it must succeed."""
        if self._machine:
            self._machine.do(*argv)
        else:
            subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=60)

    def _first(self) -> int:
        """PID 1 of its machine, by the number that it has here."""
        if not self._machine:
            return 1
        argv = ["docker", "inspect", "--format", "{{.State.Pid}}", self._machine.name]
        return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


class SystemdRunAtOnce(SystemdRun):
    """The same without the 100 ms that systemd waits before it starts a service again."""

    name = "systemd-run-0"
    properties = (*SystemdRun.properties, "RestartSec=0")


@functools.cache
def _unbootable() -> str:
    """Why this engine boots no systemd, or nothing. Tries it."""
    try:
        with booted("--network", "host"):
            return ""
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return str(error).splitlines()[0]
