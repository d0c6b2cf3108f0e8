"""Runs the console lines of documentation one after the other in a fresh home with a running fleet. A program: see `main`.

Each line is run as it is written by bash; what is not on this machine is replaced (`PLACES`), a line that would go on for ever ends
by Ctrl-C, and the fleet is put back in order after a line that changed it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.parts import program

FOLLOWS = re.compile(r" -f\b| --watch\b|mcpwatch up( -c [\w.]+)?$|mcpwatch (bridge|gateway) ")
"""Lines that run until Ctrl-C."""
OUTSIDE = re.compile(r"linear\.app|--docker crystaldba|--from postgres")
"""Servers that only the internet, a registry of images or a database has: these lines are shown, not carried out."""
CHANGES = re.compile(
    r"mcpwatch (add|remove|edit|rename|enable|disable|import|init|up|down|start|stop|restart|drill|clean|gateway|token)"
    r"|backup restore|kill"
)
"""Lines after which the fleet may be another."""
SECONDS, LIMIT = 6.0, 240.0

FLEET = """\
version: 1
env_file: .env
proxy: {listen: 127.0.0.1:9090, auth: {tokens: ["${MCP_PROXY_TOKEN}"]}}
members:
  time:   # the clock
    stdio: {command: mcp-server-time}
  fetch: {stdio: {command: mcp-server-fetch}}
  git: {stdio: {command: mcp-server-git}}
clients:
  - {kind: claude-code, hold_up: 100ms, allow_literal: true}
  - {kind: cursor, hold_up: 100ms}
  - {kind: vscode, hold_up: 100ms}
alerts: {receivers: {ops: {kind: log}}, route: {receiver: ops}}
"""
CONFIG = {
    "mcpProxy": {"baseURL": "http://127.0.0.1:9190", "addr": ":9190", "name": "p", "version": "1"},
    "mcpServers": {"time": {"command": "mcp-server-time"}},
}
COMPOSE = "services:\n  fetch: {image: 'mcp/fetch', ports: ['127.0.0.1:8099:8099']}\n"
UVX = """#!/bin/sh
# stands where uvx is: the servers of this checkout, whatever version is asked for
while case ${1:-} in -*) true;; *) false;; esac; do case $1 in --python|--with|--from) shift;; esac; shift; done
program=${1%%=*}; shift; exec "$program" "$@"
"""


NPX = """#!/bin/sh
# stands where npx is: the servers of this machine, whatever version is asked for
while case ${1:-} in -*) true;; *) false;; esac; do shift; done
program=mcp-${1##*/}; shift; exec "BIN/${program%%@*}" "$@"
"""


class Stage:
    """A home, its fleet, and what is run in it."""

    def __init__(self, home: Path) -> None:
        self.home, self.work = home, home / "work"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("MCPWATCH_", "XDG_"))}
        more = {"HOME": str(home), "XDG_STATE_HOME": f"{home}/.local/state", "NO_COLOR": "1", "COLUMNS": "160"}
        self.env |= more | {
            "MCPWATCH_BACKUP_PASSPHRASE": "correct horse",
            "DATABASE_URI": "postgresql://x",
            "LINEAR_TOKEN": "lin_x",
            "MCPWATCH_TOKEN": "tok-of-the-console",
        }
        self.env["PATH"] = f"{home / 'bin'}:{self.env['PATH']}"
        for directory in ("bin", "work", "notes", "backup", "dashboards", ".cursor"):
            (home / directory).mkdir(parents=True)
        for name, text in (("uvx", UVX), ("npx", NPX.replace("BIN", str(program("npm").parent)))):
            (home / "bin" / name).write_text(text)
            (home / "bin" / name).chmod(0o755)
        self.changed = False
        self.write()
        self.shell("git init -q . ; mcpwatch up --detach --wait; mcpwatch sync")

    def write(self) -> None:
        """The files of the fleet as they are meant."""
        files = {"mcpwatch.yaml": FLEET, "fleet.yaml": FLEET, "config.json": json.dumps(CONFIG), "compose.yaml": COMPOSE}
        files |= {".env": "MCP_PROXY_TOKEN=tok-of-the-console\n"}
        files |= {"mcp-servers.json": json.dumps({"mcpServers": CONFIG["mcpServers"]})}
        cursor = {"mcpServers": {"clock": {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}}}
        (self.home / ".cursor" / "mcp.json").write_text(json.dumps(cursor))
        for name, text in files.items():
            (self.work / name).write_text(text)
            (self.work / name).chmod(0o600)

    def shell(self, line: str, seconds: float = LIMIT, *, follows: bool = False) -> tuple[int, str]:
        """Run a line: its exit code and output. One that follows gets Ctrl-C after `seconds`."""
        with tempfile.TemporaryFile("w+") as output:
            argv = ["bash", "-o", "pipefail", "-c", line]
            process = subprocess.Popen(
                argv, cwd=self.work, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT if follows else signal.SIGKILL)
                code = 0 if process.wait(LIMIT) in (0, 130, -signal.SIGINT) and follows else 124
            output.seek(0)
            return code, output.read()

    def order(self) -> None:
        """The fleet as it is meant, all of it running."""
        if not self.changed:
            return
        status: Any = None
        code, text = self.shell("mcpwatch status --json")
        if text.startswith("{"):
            status = json.loads(text)
        names = [member["name"] for member in status["members"]] if status else []
        whole = code == 0 and names == ["time", "fetch", "git", "proxy"] and status["daemon"]["config"].endswith("mcpwatch.yaml")
        if whole and (self.work / "mcpwatch.yaml").read_text() == FLEET:
            return
        self.write()
        self.shell("mcpwatch down")
        shutil.rmtree(self.home / ".local" / "state", ignore_errors=True)
        self.shell("mcpwatch up --detach --wait; mcpwatch sync")

    def run(self, line: str) -> dict[str, Any]:
        """Run a line of a page in a fleet that is as it is meant."""
        self.order()
        made = self.placed(line)
        follows = FOLLOWS.search(line) is not None
        if re.search(r"mcpwatch (up -|gateway|init|clean|backup restore)", line) and "--dry-run" not in line:
            self.shell("mcpwatch down")
            if "init" in line:
                for name in ("mcpwatch.yaml", "fleet.yaml"):
                    (self.work / name).unlink()
        self.changed = CHANGES.search(line) is not None
        began = time.monotonic()
        code, said = self.shell(made, SECONDS if follows else LIMIT, follows=follows)
        return {"line": line, "ran": made, "code": code, "said": said[-3000:], "seconds": round(time.monotonic() - began, 1)}

    def placed(self, line: str) -> str:
        """The line with places and names that are on this machine."""
        archive = next(iter(sorted((self.home / "backup").glob("*.tar.gz"))), None)
        line = re.sub(r"/mnt/(usb|backup/mcp)/mcpwatch-\S+?\.tar\.gz", str(archive), line)
        line = re.sub(r"/mnt/(usb|backup/mcp)", str(self.home / "backup"), line)
        for named, here in (("/etc/grafana/dashboards", "dashboards"), ("/srv/notes", "notes")):
            line = line.replace(named, str(self.home / here))
        if "kill -9 2" in line:
            status = json.loads(self.shell("mcpwatch status --json")[1])
            pid = next(member["pid"] for member in status["members"] if member["name"] == "git")
            line = re.sub(r"kill -9 \d+", f"kill -9 {pid}", line)
        line = line.replace("--only fetch", "--only clock")
        if "backup restore" in line and "--dry-run" not in line:
            line = f"{line} --force"
        if "mcpwatch add" in line:  # the fleet has servers of these names already
            line = re.sub(r"(add|add-json) (time|fetch|git)\b", r"\1 \2-too", line)
            line = line.replace("add fetch-too", "add fetch-too --from fetch")
        return f"{line} --dry-run" if OUTSIDE.search(line) else line

    def close(self) -> None:
        """End the fleet."""
        self.shell("mcpwatch down")


def main() -> None:
    """Read lines as JSON on standard input; print the result of each as a JSON line."""
    lines: list[str] = json.load(sys.stdin)
    home = Path(tempfile.mkdtemp(prefix="mw-"))  # short: the path of a socket has a limit
    stage = Stage(home)
    try:
        for line in lines:
            print(json.dumps(stage.run(line)), flush=True)
    finally:
        stage.close()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
