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
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.model.errors import McpwatchError
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from tests.chaos.client_files import HOSTILE, ClientFiles
from tests.chaos.machine import LONG, NAMES, Chaos, NothingToDoError, Seen, quiet_port
from tests.e2e.load import CallFailed, Load, Session
from tests.e2e.test_state_dir import by_directory, everything, read_only, remove, truncate
from tests.parts import faked_clock, missing

HOSTED = ("hen", "hog")
SERVER = Path(__file__).with_name("hosted.py")
DISK = 48
"""Megabytes of the disk of the state directory, where one can be mounted."""
SPARE = 3
"""Descriptors that the watchdog is left with when they are short."""
GARBAGE = "import os,sys\nwhile os.write(1, b'\\xff{\"id\": 1' * 4096 + b'\\n'): pass"
FORKS = "import os,time\nfor n in range(20):\n if os.fork() == 0:\n  os.setsid(); time.sleep(600)\ntime.sleep(600)"
KINDS = {
    "kill_member": "SIGKILL",
    "kill_everyone": "SIGKILL",
    "kill_grandchild": "SIGKILL",
    "kill_proxy": "SIGKILL",
    "kill_watchdog": "SIGKILL",
    "kill_watchdog_in_the_middle": "SIGKILL",
    "freeze_member": "SIGSTOP",
    "freeze_proxy": "SIGSTOP",
    "freeze_and_thaw": "SIGSTOP",
    "harm_state": "state files",
    "harm_state_unwatched": "state files",
    "disk_full": "disk",
    "short_of_descriptors": "descriptors",
    "set_clock": "clock",
    "set_clock_and_kill": "clock",
    "set_clock_unwatched": "clock",
    "add_or_remove": "reloads",
    "change": "reloads",
    "edit_unwatched": "reloads",
    "break_the_file": "hostile files",
    "hostile_file": "hostile files",
    "another_program_writes": "clients' files",
    "start": "commands",
    "stop": "commands",
    "restart": "commands",
    "leave_the_fleet": "commands",
    "stop_the_fleet": "commands",
    "start_a_second_watchdog": "commands",
    "start_watchdog": "starts of the watchdog",
    "upgrade_in_place": "upgrades",
    "hostile_member": "hostile members",
}
"""What kind of fault each action is. A start is none: it ends one."""
START = "starts of the watchdog"
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
        self.always += [self.kill_proxy, self.freeze_member, self.freeze_proxy]
        self.invariants = {"files": self.damaged_files, **self.invariants}
        self.with_watchdog += [
            self.harm_state,
            self.harm_state,
            self.another_program_writes,
            self.hostile_file,
            self.short_of_descriptors,
            self.hostile_member,
            *((self.disk_full,) if self.mounted else ()),
            *((self.set_clock, self.set_clock, self.set_clock_and_kill) if self.clock else ()),
        ]
        self.without += [
            self.another_program_writes,
            self.harm_state_unwatched,
            *((self.set_clock_unwatched,) if self.clock else ()),
        ]

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
        with self.no_call_lost() as seen:
            super().kill_watchdog()
        self.calls["kills"] += seen

    def leave_the_fleet(self, _: str = "") -> None:
        with self.no_call_lost():
            super().leave_the_fleet()

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
        if (pid := self.pids.get(name)) is None:
            raise NothingToDoError
        self.freeze(pid)

    def freeze_proxy(self, _: str = "") -> None:
        """The same of the gateway: calls wait, and none of what it hosts is replaced."""
        pids = self.trees(self.table.scan()).get("proxy", set())
        if len(pids) != 1:
            raise NothingToDoError
        with self.no_call_lost():
            self.freeze(*pids)

    def freeze(self, pid: int) -> None:
        """For as long as one status takes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self.daemon.status()
            finally:
                os.kill(pid, signal.SIGCONT)

    def harm_state(self, _: str = "") -> None:
        """One file of the state directory goes, is cut or made read-only, or becomes a directory.

        No log, whose lines would be gone with it.
        """
        kept = [path for path in everything(self.daemon.state) if "logs" not in path.relative_to(self.daemon.state).parts]
        path, harm = self.luck.choice(kept), self.luck.choice([remove, truncate, by_directory, read_only])
        self.trace[-1] += f": {harm.__name__} {path.relative_to(self.daemon.state)}"
        with self.no_call_lost(), contextlib.suppress(FileNotFoundError):
            harm(path)
        self.harmed = True
        self.generations.clear()

    def harm_state_unwatched(self, _: str = "") -> None:
        """The same before the next watchdog looks; what an operator said may go with it, so only while nothing is stopped."""
        if self.stopped:
            raise NothingToDoError
        self.harm_state()

    def break_the_file(self, _: str = "") -> None:
        """A broken or hostile configuration is refused and changes nothing."""
        what = self.luck.choice(sorted(name for name, text in HOSTILE.items() if text is not None))
        self.trace[-1] += f": {what}"
        self.daemon.config.write_text(str(HOSTILE[what]), encoding="utf-8", errors="surrogateescape")
        self.refused()

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
        self.answering("the watchdog answers beside a hostile file")
        self.ask("POST", "/clients/sync", {"force": False})

    def hostile_member(self, name: str) -> None:
        """A member that floods, forks, dies or says nothing comes and goes: no other notices, and nothing of it stays."""
        self.wasp = self.luck.choice(sorted(WASPS))
        self.trace[-1] += f": {self.wasp}"
        self.reload()
        with contextlib.suppress(NothingToDoError):
            self.kill_member(name)
        self.settle()
        self.wasp = ""
        self.reload()
        self.until(lambda: f"of the wasp: {pids}" if (pids := self.trees(self.table.scan()).get("wasp")) else "", "orphans")

    def short_of_descriptors(self, name: str) -> None:
        """The watchdog, or the gateway, can open three more files and no fourth, while a member dies."""
        assert self.daemon.process
        who = self.luck.choice(["watchdog", "proxy"])
        pids = {self.daemon.process.pid} if who == "watchdog" else self.trees(self.table.scan()).get("proxy", set())
        if len(pids) != 1:
            raise NothingToDoError
        (pid,) = pids
        self.trace[-1] += f": {who}"
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(entry) for entry in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a name is a number here
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, before[1]))
        try:
            self.kill_member(name)
            self.answering("the watchdog answers without descriptors")
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
            self.answering("the watchdog answers on a full disk")
        finally:
            filler.unlink()

    def set_clock(self, _: str = "") -> None:
        """The wall clock of the watchdog and of all that it started is set on or back: by seconds, hours or years."""
        with self.no_call_lost():
            self.clock_jumps()
            self.answering("the watchdog answers under another clock")

    def set_clock_and_kill(self, name: str) -> None:
        """The same while a member dies, and is to be started again after a pause."""
        self.kill_member(name)
        self.clock_jumps()

    def set_clock_unwatched(self, _: str = "") -> None:
        """The same while no watchdog runs: what its files say is later or long before."""
        self.clock_jumps()

    def clock_jumps(self) -> None:
        """Another offset from the machine's clock."""
        assert self.clock
        most = self.luck.choice([5, 300, 3600, 86_400, 4 * 365 * 86_400])
        off = self.luck.randrange(-most, most)
        self.trace[-1] += f": {off:+d}s"
        fresh = self.clock.with_name("clock.new")
        fresh.write_text(f"{off:+d}\n")
        fresh.replace(self.clock)

    # -- what must hold ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def no_call_lost(self) -> Generator[bool]:
        """A client calls a hosted server all the while, and each call succeeds; `False`: none answered before, none is called."""
        name = next((name for name in HOSTED if name in self.pids and self.answers(name)), "")
        if not name:
            yield False
            return
        with Load(f"http://127.0.0.1:{self.port}/{name}/mcp", "who", {}, timeout=LONG) as load:
            load.progress(2, self.daemon.patience())
            yield True
            load.progress(2, self.daemon.patience())
        self.calls += Counter(good=load.good, failed=len(load.failures))
        assert load.failures == [], f"a client lost calls: {load.failures}; {self.trace[-9:]}"

    def at_rest(self) -> None:
        """Also without a watchdog nothing is damaged."""
        if not self.up and self.files:
            self.files.damaged()
        super().at_rest()

    def damaged_files(self, _: Seen) -> str:
        """Clients' files that lost something of their user; raised, as no waiting mends it. What a writer left beside one."""
        assert self.files
        self.files.damaged()
        return self.files.leftovers()

    def all_well(self) -> bool:
        """The wasp never is."""
        return not self.wasp

    def shown(self) -> set[str]:
        """Also the proxy."""
        return super().shown() | {"proxy"}

    def orphans(self, seen: Seen) -> str:
        """The wasp is wanted only while it is in the file."""
        left = set[int]() if self.wasp else seen.trees.get("wasp", set())
        return f"of the wasp: {sorted(left)}" if left else super().orphans(seen)

    def false_screens(self, seen: Seen) -> str:
        """Also routes as clients see them, and clients' files as told and as they are."""
        if said := super().false_screens(seen):
            return said
        wanted = (self.named - self.stopped) & set(HOSTED)
        routes = {route["name"]: route["verdict"] for route in seen.status["routes"] if route["name"] != "wasp"}
        if {name for name, verdict in routes.items() if verdict == "healthy"} != wanted:
            return f"routes are {routes}, wanted are {sorted(wanted)}"
        for name in self.named & set(HOSTED) - wanted:
            if self.answers(name):
                return f"{name} is stopped and answers"
        assert self.files
        if said := self.files.misnamed(wanted, f"127.0.0.1:{self.port}"):
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
            faked = self.clock is not None and "OSError" in str(error)  # libfaketime: nothing in its program can sleep
            if method == "POST" and not faked:
                raise
            self.trace.append(str(error))
            return []

    def trees(self, now: ProcessSnapshot) -> dict[str, set[int]]:
        """A hosted server bears the mark of its gateway, and its own name besides."""
        found = super().trees(now)
        for pid in tuple(found.get("proxy", ())):
            if name := now.procs[pid].hosted:
                found["proxy"].discard(pid)
                found.setdefault(name, set()).add(pid)
        return found

    def tree(self, name: str) -> int:
        """A hosted server is one process, and so is the gateway."""
        return 1 if name in (*HOSTED, "proxy") else super().tree(name)

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
