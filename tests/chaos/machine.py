"""Chaos as a state machine: random interleavings of deaths, stops, starts and reloads on a real watchdog with real processes.

After every step the fleet must come to rest in what the model says: one live tree for each wanted member and none for any other,
every port answered by the recorded process, no process twice, each line of output once and in order, generations never going back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcpwatch import journal
from mcpwatch.app.paths import StatePaths
from mcpwatch.cli.control import Settings, call
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.table import Snapshot, Table
from tests.e2e.daemon import Daemon, free_port

NAMES = ("ant", "bee", "cat")
PROGRAM = Path(__file__).with_name("member.py")
SETTLE = 30.0
"""Seconds within which the fleet must be at rest after a step."""
TREE = 2
"""A member is its main process and one child."""
names = st.sampled_from(NAMES)


class Chaos(RuleBasedStateMachine):
    """The model is three small facts: which members the file names, which an operator stopped, whether a watchdog runs."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="mwchaos-"))
        self.ports: dict[str, int] = {name: free_port() for name in NAMES}
        self.versions: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.named: set[str] = {"ant", "bee"}
        self.stopped: set[str] = set()
        self.up = False
        self.frozen = False
        self.pids: dict[str, int] = {}
        self.generations: dict[str, int] = {}
        self.adopts: dict[str, int] = {}
        self.table = Table(Features())
        self.daemon = Daemon(self.directory, self.config())
        self.instance = StatePaths(self.daemon.state).instance

    def config(self) -> dict[str, Any]:
        """The file as the model has it."""
        members = {
            name: {
                "route": False,
                "stop_grace": "200ms",
                "process": {
                    "command": sys.executable,
                    "args": ["-S", "-E", str(PROGRAM), str(self.ports[name])],
                    "env": {"VERSION": str(self.versions[name])},
                },
            }
            for name in sorted(self.named)
        }
        restart = {"intensity": 1000, "period": "1h", "backoff": {"first": "10ms", "max": "50ms"}, "retry": "1s"}
        return {"version": 1, "proxy": {"kind": "none"}, "members": members, "defaults": {"restart": restart}}

    # -- what can happen -----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """A watchdog comes up on an empty state directory."""
        self.start_watchdog()

    @precondition(lambda self: not self.up)
    @rule()
    def start_watchdog(self) -> None:
        """The next watchdog: what lives is adopted, with the same pids."""
        self.adopts = {name: pid for name, pid in self.pids.items() if self.alive(pid)}
        self.daemon.start("--no-watch-config")
        self.up = True

    @precondition(lambda self: self.up)
    @rule()
    def kill_watchdog(self) -> None:
        """SIGKILL: nothing else may notice."""
        assert self.daemon.process
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait()
        self.up = False

    @precondition(lambda self: self.up)
    @rule(name=names, verb=st.sampled_from(["start", "stop", "restart"]))
    def kill_watchdog_in_the_middle(self, name: str, verb: str) -> None:
        """SIGKILL right after a command: wherever it was between intent, spawn and record."""
        if name in self.named:
            self.command(name, verb)
        self.kill_watchdog()
        # The command may or may not have been remembered; a clear word from the operator settles it.
        self.start_watchdog()
        self.adopts = {}
        if name in self.named:
            self.start(name)

    @precondition(lambda self: self.up)
    @rule()
    def upgrade_in_place(self) -> None:
        """The watchdog becomes its own next version: same pid, same members."""
        self.settle()
        self.adopts = dict(self.pids)
        assert self.daemon.process
        before = self.daemon.status()["daemon"]["started_at"]
        call("POST", "/upgrade")
        self.daemon.wait(lambda status: status["daemon"]["pid"] and status["daemon"]["started_at"] != before, "it came back")

    @precondition(lambda self: self.pids)
    @rule(name=names)
    def kill_member(self, name: str) -> None:
        """SIGKILL to a main process, with or without a watchdog looking."""
        if name in self.pids:
            os.kill(self.pids.pop(name), signal.SIGKILL)

    @precondition(lambda self: self.pids)
    @rule()
    def kill_everyone(self) -> None:
        """The whole fleet dies at once."""
        for name in tuple(self.pids):
            os.kill(self.pids.pop(name), signal.SIGKILL)

    @precondition(lambda self: self.pids)
    @rule(name=names)
    def kill_grandchild(self, name: str) -> None:
        """SIGKILL to the child of a member; the member replaces it, and we must not mind."""
        main = self.pids.get(name)
        for pid in self.trees(self.table.scan()).get(name, ()):
            if main is not None and pid != main:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @precondition(lambda self: self.up)
    @rule(name=names)
    def stop(self, name: str) -> None:
        """An operator stops a member."""
        if name in self.named:
            self.command(name, "stop")
            self.stopped.add(name)
            self.pids.pop(name, None)
            self.adopts.pop(name, None)

    @precondition(lambda self: self.up)
    @rule(name=names)
    def start(self, name: str) -> None:
        """An operator starts a member."""
        if name in self.named:
            self.command(name, "start")
            self.stopped.discard(name)

    @precondition(lambda self: self.up)
    @rule(name=names)
    def restart(self, name: str) -> None:
        """An operator restarts a member: another process, whatever it was."""
        if name in self.named:
            self.command(name, "restart")
            self.stopped.discard(name)
            old = self.pids.pop(name, None)
            self.adopts.pop(name, None)
            if old is not None:
                self.daemon.wait(lambda _: not self.alive(old), f"{name} ({old}) ended for its restart")

    @precondition(lambda self: self.up)
    @rule(name=names)
    def add_or_remove(self, name: str) -> None:
        """The file names one member more or less, and is loaded."""
        self.named ^= {name}
        self.stopped.discard(name)
        self.pids.pop(name, None)
        self.adopts.pop(name, None)
        self.reload()

    @precondition(lambda self: self.up)
    @rule(name=names)
    def change(self, name: str) -> None:
        """The file changes one member: only that one is replaced."""
        self.versions[name] += 1
        if name in self.named:
            self.pids.pop(name, None)
            self.adopts.pop(name, None)
        self.reload()

    @precondition(lambda self: self.up)
    @rule()
    def break_the_file(self) -> None:
        """A broken file is refused and changes nothing."""
        self.daemon.write("members: {ant: {proces: 1}}")
        assert self.daemon.run("reload").returncode == 3
        self.daemon.write(self.config())

    @precondition(lambda self: self.up)
    @rule()
    def freeze_and_thaw(self) -> None:
        """SIGSTOP and SIGCONT of the watchdog, with a death in between."""
        assert self.daemon.process
        self.daemon.process.send_signal(signal.SIGSTOP)
        if self.pids:
            os.kill(self.pids.pop(next(iter(self.pids))), signal.SIGKILL)
        self.daemon.process.send_signal(signal.SIGCONT)

    @precondition(lambda self: self.up)
    @rule()
    def start_a_second_watchdog(self) -> None:
        """It is refused, with the pid of the first."""
        assert self.daemon.process
        done = self.daemon.run("up", "--plain", "-c", str(self.daemon.config))
        assert done.returncode == 1, done.stderr
        assert str(self.daemon.process.pid) in done.stderr

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def at_rest(self) -> None:
        """With a watchdog: exactly the wanted trees. Without: nobody died of it."""
        if not self.up:
            assert all(self.alive(pid) for pid in self.pids.values()), "a member died with the watchdog"
            return
        self.settle()

    @invariant()
    def lines_complete(self) -> None:
        """Of every process that ever wrote: its lines from 0 on, each once, in order."""
        for name in NAMES:
            counts: dict[str, int] = {}
            for line in journal.read(self.daemon.state, name, ("stdout",), n=None):
                pid, number = line.text.split()
                assert int(number) == counts.get(pid, 0), f"{name}: {line.text} after {counts.get(pid, 0) - 1}"
                counts[pid] = int(number) + 1

    def settle(self) -> None:
        """Wait until what runs is what is wanted; then it must be so in every respect."""
        deadline = time.monotonic() + SETTLE
        while True:
            wrong = self.wrong()
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not at rest after {SETTLE}s: {wrong}\n{self.daemon.said()[-6000:]}")
            time.sleep(0.02)

    def wrong(self) -> str:
        """What is not yet as it must be, or nothing."""
        status = self.daemon.status()
        if not status["daemon"]["pid"]:
            return "no daemon"
        shown = {member["name"]: member for member in status["members"]}
        if set(shown) != self.named:
            return f"status shows {sorted(shown)}"
        now = self.table.scan()
        trees = self.trees(now)
        wanted = self.named - self.stopped
        for name, pids in trees.items():
            if pids and name not in wanted:
                return f"{name} is not wanted and lives: {sorted(pids)}"
        fresh: dict[str, int] = {}
        for name in wanted:
            member, pids = shown[name], trees.get(name, set())
            pid = member["pid"]
            if member["phase"] != "running" or pid not in pids:
                return f"{name} is {member['phase']} with pid {pid}, its tree is {sorted(pids)}"
            if len(pids) != TREE:
                return f"{name} has {len(pids)} processes: {sorted(pids)}"
            if self.answers(name) != pid:
                return f"{name}: its port is not answered by {pid}"
            fresh[name] = pid
            if member["generation"] < self.generations.get(name, 0):
                return f"{name}: generation {member['generation']} after {self.generations[name]}"
        dead = [proc.pid for proc in now.procs.values() if proc.ppid == status["daemon"]["pid"] and not proc.alive]
        if dead:
            return f"zombies of the watchdog: {dead}"
        for name, pid in self.adopts.items():
            assert fresh.get(name, pid) == pid, f"{name} was restarted instead of adopted: {pid} -> {fresh.get(name)}"
        for name in set(self.pids) & set(fresh):
            assert fresh[name] == self.pids[name], f"{name} was restarted without need: {self.pids[name]} -> {fresh[name]}"
        self.adopts = {}
        self.pids = fresh
        self.generations |= {name: shown[name]["generation"] for name in wanted}
        return ""

    def trees(self, now: Snapshot) -> dict[str, set[int]]:
        """Living processes by the member in their mark."""
        found: dict[str, set[int]] = {}
        for proc in now.procs.values():
            words = proc.mark.split("/")
            if proc.alive and words[0] == self.instance:
                found.setdefault(words[1], set()).add(proc.pid)
        return found

    def alive(self, pid: int) -> bool:
        """Whether a process lives."""
        proc = self.table.look(pid)
        return proc is not None and proc.alive

    def answers(self, name: str) -> int:
        """The pid that answers on a member's port, 0 when none does."""
        with contextlib.suppress(OSError, ValueError), socket.create_connection(("127.0.0.1", self.ports[name]), 5) as connection:
            return int(connection.recv(64) or b"0")
        return 0

    def command(self, name: str, verb: str) -> None:
        """Ask the watchdog."""
        Settings.state_dir = self.daemon.state
        call("POST", f"/members/{name}/{verb}")

    def reload(self) -> None:
        """Write the file and have it loaded."""
        self.daemon.write(self.config())
        done = self.daemon.run("reload")
        assert done.returncode == 0, done.stderr

    def teardown(self) -> None:
        """Stop all of it; nothing may live afterwards."""
        try:
            if self.up and self.daemon.process and self.daemon.process.poll() is None:
                assert self.daemon.stop() == 0
                assert self.daemon.marked() == []
        finally:
            self.daemon.close()
            shutil.rmtree(self.directory, ignore_errors=True)
