"""What every supervisor must be able to do to be measured: run commands, stop them, be killed. One class a peer, in `peers`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.supervisors import bare
from benchmarks.supervisors.tiny import TABLE
from tests.e2e.daemon import free_port

Commands = Mapping[str, list[str]]


class Peer:
    """One supervisor. `run` starts it (again), with `commands` by name, in `directory`."""

    name = ""
    program = ""
    place = "here"
    """Where its commands run: a bare start is measured in the same place."""

    def __init__(self, directory: Path, commands: Commands) -> None:
        self.directory = directory
        self.commands = commands
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be used here, or nothing."""
        return "" if shutil.which(cls.program) else f"{cls.program} is not installed"

    def boot(self) -> None:
        """Have up what must be there before it and is no part of its own start."""

    def prepare(self) -> None:
        """Write its files."""

    def argv(self) -> list[str]:
        """What runs it in the foreground."""
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        return dict(os.environ)

    def run(self) -> None:
        self.prepare()
        with (self.directory / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(
                self.argv(), env=self.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def own(self) -> set[int]:
        """The processes of the supervisor itself, not what it supervises."""
        return {self.process.pid} if self.process and self.process.poll() is None else set()

    def real(self, pid: int) -> int:
        """The pid here of a process that calls itself `pid` where it runs."""
        return pid

    def bare(self, program: str) -> float:
        """Seconds of a bare start of the server, in the same place."""
        return bare.bare(program, free_port())

    def stop_all(self) -> None:
        """Ask it to stop every command, and wait for that."""
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL to all of it at once."""
        for pid in self.own():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()

    def unkillable(self, program: str, port: int) -> str:
        """What becomes of the server instead, where nobody can kill the supervisor; nothing where one can."""
        del program, port
        return ""

    def call(self, *argv: str) -> None:
        subprocess.run(argv, env=self.env(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def children_of(self, pids: set[int], named: str) -> set[int]:
        now = TABLE.scan()
        found: set[int] = set()
        for pid in now.descend(pids):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith(named):
                    found.add(pid)
        return found
