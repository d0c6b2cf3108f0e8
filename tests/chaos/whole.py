"""Chaos on everything: processes, hosted servers behind the gateway, and clients' files, while the machine misbehaves too.

Adds to `Chaos`: what is hosted answers calls through the proxy; the status is compared with what really answers; the clients' files
name what is served; a client that calls all the time loses no call to anything that only befalls the watchdog.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.model.errors import McpwatchError
from mcpwatch.runtimes.process_table import Snapshot
from tests.chaos.client_files import ClientFiles
from tests.chaos.machine import NAMES, Chaos, quiet_port
from tests.e2e.load import CallFailed, Load, Session
from tests.e2e.test_state_dir import by_directory, everything, remove, truncate
from tests.parts import faked_clock, missing

HOSTED = ("hen", "hog")
SERVER = Path(__file__).with_name("hosted.py")
DISK = 48
"""Megabytes of the disk of the state directory, where one can be mounted."""
SPARE = 3
"""Descriptors that the watchdog is left with when they are short."""
GARBAGE = "import os,sys\nwhile os.write(1, b'\\xff{\"id\": 1' * 4096 + b'\\n'): pass"
FORKS = "import os,time\nfor n in range(20):\n if os.fork() == 0:\n  os.setsid(); time.sleep(600)\ntime.sleep(600)"
WASPS = {"garbage": GARBAGE, "forks": FORKS, "dies": "raise SystemExit(3)", "deaf": "import time; time.sleep(600)"}


class Whole(Chaos):
    """A walk over everything. `luck` is the walk's own; with `clock`, the wall clock can be set, which slows it."""

    names = (*NAMES, *HOSTED)
    others = frozenset({"proxy", "wasp"})

    def __init__(self, luck: random.Random, *, clock: bool) -> None:
        self.luck = luck
        self.port = quiet_port()
        self.wasp = ""
        self.files: ClientFiles | None = None
        super().__init__()
        self.mounted = not missing("mount")
        if self.mounted:
            self.daemon.state.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", self.daemon.state], check=True)
        self.files = ClientFiles(self.directory)
        self.clock: Path | None = None
        self.named |= set(HOSTED)
        if clock and not missing("faketime"):
            self.clock = self.directory / "clock"
            self.clock.write_text("+0\n")
        self.daemon.write(self.config())
        self.always += [self.kill_proxy, self.freeze_member]
        self.with_watchdog += [
            self.harm_state,
            self.harm_state,
            self.another_program_writes,
            self.hostile_file,
            self.short_of_descriptors,
            self.hostile_member,
            *((self.disk_full,) if self.mounted else ()),
            *((self.set_clock,) if self.clock else ()),
        ]
        self.without += [self.another_program_writes]

    def config(self) -> dict[str, Any]:
        """The file as the model has it."""
        config = super().config()
        for name in sorted(self.named & set(HOSTED)):
            env = {"VERSION": str(self.versions[name])}
            config["members"][name] = {"stdio": {"command": sys.executable, "args": ["-S", "-E", str(SERVER)], "env": env}}
        if self.wasp:
            config["members"]["wasp"] = {"stdio": {"command": sys.executable, "args": ["-S", "-c", WASPS[self.wasp]]}}
        config["proxy"] = {"kind": "gateway", "listen": f"127.0.0.1:{self.port}"}
        config["defaults"]["check"] = {"interval": "1s", "timeout": "10s", "failure_threshold": 3}
        config["clients"] = self.files.config() if self.files else []
        return config

    # -- what can happen -----------------------------------------------------------------------------------------------

    def start_watchdog(self, _: str = "") -> None:
        """The next watchdog, under a clock that can be set where there is one."""
        mine = self.daemon.env
        if self.clock is not None:
            self.daemon.env = mine | faked_clock(self.clock) | {"FAKETIME_NO_CACHE": "0", "FAKETIME_CACHE_DURATION": "1"}
        try:
            with self.no_call_lost():
                super().start_watchdog()
        finally:
            self.daemon.env = mine

    def kill_watchdog(self, _: str = "") -> None:
        with self.no_call_lost():
            super().kill_watchdog()

    def upgrade_in_place(self, _: str = "") -> None:
        with self.no_call_lost():
            super().upgrade_in_place()

    def change(self, name: str) -> None:
        """The gateway replaces a hosted server after it has read its new file."""
        old = self.pids.get(name) if name in HOSTED and name in self.named else None
        super().change(name)
        if old is not None:
            self.daemon.wait(lambda _: not self.alive(old), f"{name} ({old}) is replaced")

    def kill_proxy(self, _: str = "") -> None:
        """SIGKILL to the gateway: what it hosts ends with it and is started again."""
        for pid in self.trees(self.table.scan()).get("proxy", ()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in HOSTED:
            self.pids.pop(name, None)
            self.adopts.pop(name, None)

    def freeze_member(self, name: str) -> None:
        """SIGSTOP and SIGCONT of one process: nobody may be restarted for a moment's silence."""
        if (pid := self.pids.get(name)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                try:
                    self.daemon.status()
                finally:
                    os.kill(pid, signal.SIGCONT)

    def harm_state(self, _: str = "") -> None:
        """One file of the state directory goes, is cut, or becomes a directory; no log, whose lines would be gone with it."""
        kept = [path for path in everything(self.daemon.state) if "logs" not in path.relative_to(self.daemon.state).parts]
        path, harm = self.luck.choice(kept), self.luck.choice([remove, truncate, by_directory])
        self.trace[-1] += f": {harm.__name__} {path.relative_to(self.daemon.state)}"
        with self.no_call_lost(), contextlib.suppress(FileNotFoundError):
            harm(path)
        self.generations.clear()

    def another_program_writes(self, _: str = "") -> None:
        """A user's editor adds a line to a client's file."""
        assert self.files
        self.files.add(self.luck)

    def hostile_file(self, _: str = "") -> None:
        """A client's file is hostile for a while: it is left alone, told, and no other room notices."""
        assert self.files
        path, restore = self.files.spoil(self.luck)
        self.trace[-1] += f": {path.name}"
        shown = self.ask("POST", "/clients/sync", {})
        mine = next(row for row in shown if row["path"] == str(path))
        changed = restore()
        assert not changed, changed
        assert mine.get("error") or not mine.get("changed"), f"told as written: {mine}"
        assert self.daemon.status()["daemon"]["pid"], "the watchdog does not answer"
        self.ask("POST", "/clients/sync", {"force": False})

    def hostile_member(self, name: str) -> None:
        """A member that floods, forks, dies or says nothing comes and goes: no other notices, and nothing of it stays."""
        self.wasp = self.luck.choice(sorted(WASPS))
        self.trace[-1] += f": {self.wasp}"
        self.reload()
        self.kill_member(name)
        self.settle()
        self.wasp = ""
        self.reload()
        self.until(lambda: f"of the wasp: {pids}" if (pids := self.trees(self.table.scan()).get("wasp")) else "", "orphans")

    def short_of_descriptors(self, name: str) -> None:
        """The watchdog can open three more files and no fourth, while a member dies."""
        assert self.daemon.process
        pid = self.daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(entry) for entry in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a name is a number here
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, before[1]))
        try:
            self.kill_member(name)
            status = self.daemon.status()
            assert status["daemon"]["pid"], "the watchdog does not answer without descriptors"
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def disk_full(self, name: str) -> None:
        """Not a byte more fits while a member dies; then there is room again."""
        filler = self.daemon.state / "filler"
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as out:
            while out.write(b"\0" * 4096):
                pass
        try:
            self.kill_member(name)
            assert self.daemon.status()["daemon"]["pid"], "the watchdog does not answer on a full disk"
        finally:
            filler.unlink()

    def set_clock(self, _: str = "") -> None:
        """The wall clock of the watchdog is set by up to an hour."""
        assert self.clock
        fresh = self.clock.with_name("clock.new")
        fresh.write_text(f"{self.luck.randrange(-3600, 3600):+d}\n")
        with self.no_call_lost():
            fresh.replace(self.clock)
            assert self.daemon.status()["daemon"]["pid"], "the watchdog does not answer"

    # -- what must hold ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def no_call_lost(self) -> Generator[None]:
        """A client calls a hosted server all the while, and each call succeeds; only where the server answered before."""
        if "hen" not in self.pids or not self.answers("hen"):
            yield
            return
        with Load(f"http://127.0.0.1:{self.port}/hen/mcp", "who", {}) as load:
            load.progress(2)
            yield
            load.progress(2)
        assert load.failures == [], f"a client lost calls: {load.failures}; {self.trace[-9:]}"

    def wrong(self) -> str:
        """What is not yet as it must be: members, routes as clients see them, clients' files as told and as they are."""
        if said := super().wrong():
            return said
        status = self.daemon.status()
        wanted = (self.named - self.stopped) & set(HOSTED)
        routes = {route["name"]: route["verdict"] for route in status["routes"] if route["name"] != "wasp"}
        if {name for name, verdict in routes.items() if verdict == "healthy"} != wanted:
            return f"routes are {routes}, wanted are {sorted(wanted)}"
        for name in self.named & set(HOSTED) - wanted:
            if self.answers(name):
                return f"{name} is stopped and answers"
        assert self.files
        urls = f"127.0.0.1:{self.port}"
        if said := self.files.wrong(wanted, urls):
            self.ask("POST", "/clients/sync", {})
            return said
        told = {Path(row["path"]).name: (row["in_sync"], set(row["listed"])) for row in self.ask("GET", "/clients")}
        false = {name: row for name, row in told.items() if row != (True, wanted)}
        return f"clients are told as {false}, and their files name {sorted(wanted)}" if false else ""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the watchdog; an empty list while it does not answer."""
        ControlSettings.state_dir = self.daemon.state
        try:
            return call(method, path, body)
        except McpwatchError as error:
            if method == "POST":
                raise
            self.trace.append(str(error))
            return []

    def trees(self, now: Snapshot) -> dict[str, set[int]]:
        """A hosted server bears the mark of its gateway, and its own name besides."""
        found = super().trees(now)
        for pid in tuple(found.get("proxy", ())):
            if name := now.procs[pid].hosted:
                found["proxy"].discard(pid)
                found.setdefault(name, set()).add(pid)
        return found

    def tree(self, name: str) -> int:
        """A hosted server is one process."""
        return 1 if name in HOSTED else super().tree(name)

    def stream(self, name: str) -> str:
        """A hosted server's standard output is its protocol."""
        return "stderr" if name in HOSTED else super().stream(name)

    def answers(self, name: str) -> int:
        """The pid that answers for a member, through the proxy when it is hosted; 0 when none does."""
        if name not in HOSTED:
            return super().answers(name)
        session = Session(f"http://127.0.0.1:{self.port}/{name}/mcp")
        try:
            pid = int(session.open().call("who", {})["content"][0]["text"])
            session.client.delete(session.url, headers={"Mcp-Session-Id": session.session or ""})
        except (CallFailed, httpx.HTTPError, json.JSONDecodeError, LookupError):
            return 0
        finally:
            session.client.close()
        self.answered[name, pid] += 1
        return pid

    def teardown(self) -> None:
        """Also the disk."""
        try:
            super().teardown()
        finally:
            if self.mounted:
                subprocess.run(["umount", "--lazy", self.daemon.state], check=False)
            shutil.rmtree(self.directory, ignore_errors=True)
