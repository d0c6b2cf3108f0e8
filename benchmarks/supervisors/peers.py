"""How each supervisor is told to run commands, stopped, killed. One class a peer; all do the same few things.

They come from `.ci/parts debian supervisors peers systemd`; one that is not installed says why instead of figures. Nothing here
is shared between peers but the directory each gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from benchmarks.supervisors import trace
from benchmarks.supervisors.peer import Commands, Peer
from benchmarks.supervisors.systemd import SystemdRun, SystemdRunAtOnce
from benchmarks.supervisors.tiny import TABLE
from tests.parts import PARTS


class Mcpwatch(Peer):
    name = "mcpwatch"
    program = sys.executable

    def __init__(self, directory: Path, commands: Commands) -> None:
        super().__init__(directory, commands)
        self.checked: dict[str, dict[str, str]] = {}
        """Members besides the commands: servers that are checked every second."""
        self.traced: Path | None = None

    def prepare(self) -> None:
        members = {
            name: {"route": False, "stop_grace": "1s", "process": {"command": argv[0], "args": argv[1:]}}
            for name, argv in self.commands.items()
        }
        restart = {"intensity": 1000, "period": "24h", "backoff": {"first": "1ms", "max": "1ms"}}
        defaults = {"restart": restart, "check": {"interval": "1s"}}
        fleet = {"version": 1, "proxy": {"kind": "none"}, "members": {**members, **self.checked}, "defaults": defaults}
        (self.directory / "fleet.yaml").write_text(json.dumps(fleet))

    def env(self) -> dict[str, str]:
        traced = {trace.VARIABLE: str(self.traced)} if self.traced else {}
        return {**os.environ, **traced, "MCPWATCH_STATE_DIR": str(self.directory / "state")}

    def argv(self) -> list[str]:
        program = [trace.__file__] if self.traced else ["-m", "mcpwatch"]
        return [sys.executable, *program, "up", "--plain", "-c", str(self.directory / "fleet.yaml")]

    def watches(self, count: int) -> bool:
        """Whether it answers, and runs so many commands."""
        from mcpwatch.cli.control import ControlSettings, call
        from mcpwatch.model.errors import McpwatchError

        ControlSettings.state_dir = self.directory / "state"
        try:
            found = call("GET", "/status", timeout=10.0)
        except McpwatchError:
            return False
        mine = self.process is not None and found["daemon"]["pid"] == self.process.pid
        return mine and sum(one["phase"] == "running" for one in found["members"] if one["name"] in self.commands) == count

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


PEERS: tuple[type[Peer], ...] = (Mcpwatch, Supervisord, Runit, S6, SystemdRun, SystemdRunAtOnce, Pm2)
