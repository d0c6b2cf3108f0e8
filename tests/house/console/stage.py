"""A fresh home on a loopback and a file system of its own, in which a page's commands run as they are written.

Ports, `/etc`, `/mnt` and `/srv` are the stage's: nothing outside is seen or changed. It ends every process that runs in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.house.console.blocks import ROOT
from tests.house.console.fleets import FILES, PROGRAMS, Fleet
from tests.parts import PROGRAMS as PARTS
from tests.parts import SERVERS

LIMIT = 180.0
"""Seconds that a command may take on a machine that has other work."""
_PAUSE = 0.1
_ROOM = """
set -e
ip link set lo up
mount -t tmpfs none /mnt
mount -t tmpfs none /srv
mkdir -p /mnt/etc/over /mnt/etc/work /srv/notes
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc/over,workdir=/mnt/etc/work /etc
mkdir -p /etc/grafana/dashboards
echo ready
exec cat
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code (0 for one that was ended by Ctrl-C as it should be) and all that it said."""

    code: int
    said: str


@dataclass
class Stage:
    """The home and what runs in it; `fleet` is what it holds now."""

    home: Path
    room: subprocess.Popen[str]
    env: dict[str, str] = field(repr=False)
    fleet: Fleet | None = None

    @property
    def work(self) -> Path:
        """Where commands are run."""
        return self.home / "work"

    def run(self, command: str, *, until: str = "", limit: float = LIMIT, where: Path | None = None) -> Done:
        """Run a command by bash. With `until` it goes on for ever: it gets Ctrl-C once that other command succeeds.

        In that other command `$SAID` is a file: what the first one said until now.
        """
        with tempfile.NamedTemporaryFile("w+") as output:
            process = subprocess.Popen(
                self._argv(command, where),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            code = self._interrupted(process, until, output.name, limit) if until else _end(process, limit)
            output.seek(0)
            return Done(code, output.read())

    def _argv(self, command: str, where: Path | None = None) -> list[str]:
        spaces = [f"--{kind}=/proc/{self.room.pid}/ns/{file}" for kind, file in (("net", "net"), ("mount", "mnt"))]
        heard = ["env", "--default-signal=INT"]  # who runs the tests in the background has it ignored, and so would the command
        return [*heard, "nsenter", *spaces, "bash", "-o", "pipefail", "-c", f"cd '{where or self.work}'\n{command}"]

    def _interrupted(self, process: subprocess.Popen[bytes], until: str, said: str, limit: float) -> int:
        """Wait for the condition, then end the command by Ctrl-C: 0 when it took that well."""
        deadline, env = time.monotonic() + limit, {**self.env, "SAID": said}
        while subprocess.run(self._argv(until), env=env, capture_output=True, timeout=limit, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
                return process.wait() or 124
            time.sleep(_PAUSE)
        os.killpg(process.pid, signal.SIGINT)
        code = _end(process, limit)
        return 0 if code in (130, -signal.SIGINT) else code

    def prepare(self, fleet: Fleet) -> None:
        """Make the home hold that fleet: fresh, or as it is when nothing changed it since."""
        if self.fleet == fleet and fleet.running and self._as_meant(fleet):
            return
        self.clear()
        for name, text in {**FILES, **fleet.files}.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
        for command in ("git init -q .", *fleet.made):
            done = self.run(command, limit=LIMIT * 2)
            assert done.code == 0, (command, done.said[-3000:])
        self.fleet = fleet

    def _as_meant(self, fleet: Fleet) -> bool:
        """Whether the files are as written, and the watchdog runs that file with every route healthy."""
        if any(
            (self.home / name).read_text(encoding="utf-8") != text
            for name, text in fleet.files.items()
            if (self.home / name).exists()
        ):
            return False
        if not all((self.home / name).exists() for name in fleet.files):
            return False
        done = self.run("mcpwatch status --json")
        if done.code != 0:
            return False
        routes = {one["name"]: one["verdict"] for one in json.loads(done.said)["routes"]}
        return routes == dict.fromkeys(fleet.routes, "healthy")

    def clear(self) -> None:
        """End everything in the stage and empty the home; what was put on `/mnt` stays."""
        self.fleet = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("mcpwatch down", limit=20.0)
        for _ in range(50):
            if not (left := self._inside()):
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE)
        for path in self.home.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, text in PROGRAMS.items():
            program = self.home / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(
                text.replace("@NPM@", str(Path(PARTS["npm"]).parent)).replace("@SCHEMA@", str(PARTS["kubernetes-schema"]))
            )
            program.chmod(0o755)
        self.work.mkdir()

    def _inside(self) -> list[int]:
        """The processes in this stage but the one that holds it open; none when it is gone or never had a network of its own."""
        try:
            own = Path(f"/proc/{self.room.pid}/ns/net").readlink()
        except OSError:
            return []
        if own == Path("/proc/self/ns/net").readlink():
            return []
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(entry.name) != self.room.pid and (entry / "ns" / "net").readlink() == own:
                    found.append(int(entry.name))
        return found


def _end(process: subprocess.Popen[bytes], limit: float) -> int:
    """Wait for the end; 124 for a command that had to be killed."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 124


@contextlib.contextmanager
def stage() -> Generator[Stage]:
    """An empty stage; nothing of it is left afterwards."""
    home = Path(tempfile.mkdtemp(prefix="mw-"))  # short: the path of a socket has a limit
    argv = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _ROOM]
    room = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    made = Stage(home, room, _environment(home, os.environ))
    try:
        assert room.stdout is not None
        assert room.stdout.readline() == "ready\n"
        yield made
    finally:
        made.clear()
        room.kill()
        room.wait()
        shutil.rmtree(home, ignore_errors=True)


def _environment(home: Path, outer: Mapping[str, str]) -> dict[str, str]:
    env = {name: value for name, value in outer.items() if not name.startswith(("MCPWATCH_", "XDG_", "PYTEST_"))}
    path = f"{home / 'bin'}:{ROOT / '.venv' / 'bin'}:{SERVERS}:{env['PATH']}"
    more = {
        "HOME": str(home),
        "XDG_STATE_HOME": f"{home}/.local/state",
        "PATH": path,
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "MCPWATCH_BACKUP_PASSPHRASE": "correct horse",
    }
    return (
        env
        | more
        | {"DATABASE_URI": "postgresql://me@db/x", "LINEAR_TOKEN": "lin_of_the_console", "MCPWATCH_TOKEN": "tok-of-the-console"}
    )
