"""How each supervisor is told to run commands, stopped, killed. One class a peer; all do the same few things.

They come from `.ci/parts debian supervisors peers`; one that is not installed says why and is left out. Nothing here is
shared between peers but the directory each gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.table import Table
from tests.parts import PARTS

Commands = Mapping[str, list[str]]
TABLE = Table(Features())


class Peer:
    """One supervisor. `run` starts it (again), with `commands` by name, in `directory`."""

    name = ""
    program = ""

    def __init__(self, directory: Path, commands: Commands) -> None:
        self.directory = directory
        self.commands = commands
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be used here, or nothing."""
        return "" if shutil.which(cls.program) else f"{cls.program} is not installed"

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


class Mcpwatch(Peer):
    name = "mcpwatch"
    program = sys.executable

    def prepare(self) -> None:
        members = {
            name: {"route": False, "stop_grace": "1s", "process": {"command": argv[0], "args": argv[1:]}}
            for name, argv in self.commands.items()
        }
        restart = {"intensity": 1000, "period": "24h", "backoff": {"first": "1ms", "max": "1ms"}}
        fleet = {"version": 1, "proxy": {"kind": "none"}, "members": members, "defaults": {"restart": restart}}
        (self.directory / "fleet.json").write_text(json.dumps(fleet))
        (self.directory / "fleet.yaml").write_text(json.dumps(fleet))

    def env(self) -> dict[str, str]:
        return {**os.environ, "MCPWATCH_STATE_DIR": str(self.directory / "state")}

    def argv(self) -> list[str]:
        return [sys.executable, "-m", "mcpwatch", "up", "--plain", "-c", str(self.directory / "fleet.yaml")]

    def stop_all(self) -> None:
        self.call(sys.executable, "-m", "mcpwatch", "down")


class Supervisord(Peer):
    name = "supervisord"
    program = str(PARTS / "supervisors/bin/supervisord")

    def prepare(self) -> None:
        here = self.directory
        text = f"[supervisord]\nnodaemon=true\nlogfile={here}/sd.log\npidfile={here}/sd.pid\nuser=root\n"
        text += f"[unix_http_server]\nfile={here}/sd.sock\n[supervisorctl]\nserverurl=unix://{here}/sd.sock\n"
        text += "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        for name, argv in self.commands.items():
            text += f"[program:{name}]\ncommand={' '.join(argv)}\nautorestart=true\n"
            text += "stopasgroup=true\nkillasgroup=true\nstopwaitsecs=1\n"
        (here / "sd.conf").write_text(text)

    def argv(self) -> list[str]:
        return [self.program, "-c", str(self.directory / "sd.conf")]

    def stop_all(self) -> None:
        self.call(f"{self.program[:-1]}ctl", "-c", str(self.directory / "sd.conf"), "stop", "all")


class Runit(Peer):
    name = "runit"
    program = "runsvdir"
    supervises = "runsv"

    def prepare(self) -> None:
        for name, argv in self.commands.items():
            run = self.directory / "sv" / name / "run"
            run.parent.mkdir(parents=True, exist_ok=True)
            run.write_text(f"#!/bin/sh\nexec {' '.join(argv)}\n")
            run.chmod(0o755)

    def argv(self) -> list[str]:
        return ["runsvdir", str(self.directory / "sv")]

    def own(self) -> set[int]:
        return self.children_of(super().own(), self.supervises)

    def stop_all(self) -> None:
        for name in self.commands:
            self.call("sv", "-w", "1", "force-stop", str(self.directory / "sv" / name))


class S6(Runit):
    name = "s6"
    program = "s6-svscan"
    supervises = "s6-s"

    def argv(self) -> list[str]:
        return ["s6-svscan", str(self.directory / "sv")]

    def stop_all(self) -> None:
        for name in self.commands:
            self.call("s6-svc", "-wD", "-T", "2000", "-d", str(self.directory / "sv" / name))


class Pm2(Peer):
    name = "pm2"
    program = str(PARTS / "pm2/node_modules/.bin/pm2")

    def env(self) -> dict[str, str]:
        return {**os.environ, "PM2_HOME": str(self.directory / "pm2")}

    def run(self) -> None:
        apps = [
            {"name": name, "script": argv[0], "args": argv[1:], "interpreter": "none", "exec_mode": "fork"}
            for name, argv in self.commands.items()
        ]
        (self.directory / "apps.json").write_text(json.dumps({"apps": apps}))
        self.call(self.program, "start", str(self.directory / "apps.json"))

    def own(self) -> set[int]:
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / "pm2" / "pm2.pid").read_text())
            proc = TABLE.look(pid)
            return {pid} if proc and proc.alive else set()
        return set()

    def stop_all(self) -> None:
        self.call(self.program, "stop", "all")


class SystemdRun(Peer):
    name = "systemd-run"
    program = "systemd-run"

    @classmethod
    def missing(cls) -> str:
        return super().missing() or ("" if Path("/run/systemd/system").exists() else "systemd is not PID 1 here")


PEERS: tuple[type[Peer], ...] = (Mcpwatch, Supervisord, Runit, S6, Pm2, SystemdRun)


def wait_for(condition: object, seconds: float) -> bool:
    """Look every 2 ms until `condition()` or the time is over."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
