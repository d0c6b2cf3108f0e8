"""Chaos on a model: random interleavings of deaths, stops, starts and reloads on a real watchdog with real processes.

After every step the fleet must come to rest in what the model says: one live tree for each wanted member and none for any other,
every port answered by the recorded process, no process twice, each line of output once and in order, generations never going back.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcpwatch import journal
from mcpwatch.app.paths import StatePaths
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.process_table import ProcessTable, Snapshot
from tests.e2e.daemon import Daemon

NAMES = ("ant", "bee", "cat")
PROGRAM = Path(__file__).with_name("member.py")
SETTLE = 90.0
"""Seconds within which the fleet must be at rest after a step."""
VERBS = ("start", "stop", "restart")
TREE = 2
"""A member is its main process and one child."""


def quiet_port() -> int:
    """A free port below those that outgoing connections get, so that nobody else takes it while its member is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Chaos:
    """The model is three small facts: which members the file names, which an operator stopped, whether a watchdog runs."""

    names: tuple[str, ...] = NAMES
    others: frozenset[str] = frozenset()
    """Members that the status shows besides those that the walk is about."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mwchaos-"))
        self.ports: dict[str, int] = {name: quiet_port() for name in NAMES}
        self.versions: dict[str, int] = dict.fromkeys(self.names, 0)
        self.named: set[str] = {"ant", "bee"}
        self.stopped: set[str] = set()
        self.up = False
        self.frozen = False
        self.pids: dict[str, int] = {}
        self.generations: dict[str, int] = {}
        self.adopts: dict[str, int] = {}
        self.answered: Counter[tuple[str, int]] = Counter()
        """Connections that each process answered: it wrote a line before each answer."""
        self.trace: list[str] = []
        self.always: list[Callable[[str], None]] = [self.kill_member, self.kill_member, self.kill_everyone, self.kill_grandchild]
        self.without: list[Callable[[str], None]] = [self.start_watchdog, self.start_watchdog, self.edit_unwatched]
        self.with_watchdog: list[Callable[[str], None]] = [
            self.kill_watchdog,
            self.kill_watchdog,
            self.kill_watchdog_in_the_middle,
            self.upgrade_in_place,
            self.stop,
            self.start,
            self.restart,
            self.add_or_remove,
            self.change,
            self.freeze_and_thaw,
            self.break_the_file,
            self.start_a_second_watchdog,
        ]
        self.table = ProcessTable(Features())
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
            for name in sorted(self.named & set(NAMES))
        }
        restart = {"intensity": 1000, "period": "1h", "backoff": {"first": "10ms", "max": "50ms"}, "retry": "1s"}
        return {"version": 1, "proxy": {"kind": "none"}, "members": members, "defaults": {"restart": restart}}

    def step(self, luck: random.Random) -> None:
        """Something happens, of all that can happen now; then the fleet must come to rest."""
        actions = self.always + (self.with_watchdog if self.up else self.without)
        action, name = luck.choice(actions), luck.choice(self.names)
        self.trace.append(f"{action.__name__}({name})")
        action(name)
        self.at_rest()
        self.lines_complete()

    # -- what can happen -----------------------------------------------------------------------------------------------

    def start_watchdog(self, _: str = "") -> None:
        """The next watchdog: what lives is adopted, with the same pids."""
        self.adopts = {name: pid for name, pid in self.pids.items() if self.alive(pid)}
        self.daemon.start("--no-watch-config")
        self.up = True

    def kill_watchdog(self, _: str = "") -> None:
        """SIGKILL: nothing else may notice."""
        assert self.daemon.process
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait()
        self.up = False

    def kill_watchdog_in_the_middle(self, name: str) -> None:
        """SIGKILL right after a command: wherever it was between intent, spawn and record."""
        if name in self.named:
            self.command(name, VERBS[len(self.trace) % 3])
            self.pids.pop(name, None)
        self.kill_watchdog()
        # The command may or may not have been remembered; a clear word from the operator settles it.
        self.start_watchdog()
        if name in self.named:
            self.start(name)

    def upgrade_in_place(self, _: str = "") -> None:
        """The watchdog becomes its own next version: same pid, same members."""
        self.settle()
        self.adopts = dict(self.pids)
        assert self.daemon.process
        before = self.daemon.status()["daemon"]["started_at"]
        call("POST", "/upgrade")
        self.daemon.wait(lambda status: status["daemon"]["pid"] and status["daemon"]["started_at"] != before, "it came back")

    def kill_member(self, name: str) -> None:
        """SIGKILL to a main process, with or without a watchdog looking."""
        if name in self.pids:
            os.kill(self.pids.pop(name), signal.SIGKILL)

    def kill_everyone(self, _: str = "") -> None:
        """The whole fleet dies at once."""
        for name in tuple(self.pids):
            os.kill(self.pids.pop(name), signal.SIGKILL)

    def kill_grandchild(self, name: str) -> None:
        """SIGKILL to the child of a member; the member replaces it, and we must not mind."""
        main = self.pids.get(name)
        for pid in self.trees(self.table.scan()).get(name, ()):
            if main is not None and pid != main:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """An operator stops a member."""
        if name in self.named:
            self.command(name, "stop")
            self.stopped.add(name)
            self.pids.pop(name, None)
            self.adopts.pop(name, None)

    def start(self, name: str) -> None:
        """An operator starts a member."""
        if name in self.named:
            self.command(name, "start")
            self.stopped.discard(name)

    def restart(self, name: str) -> None:
        """An operator restarts a member: another process, whatever it was."""
        if name in self.named:
            self.command(name, "restart")
            self.stopped.discard(name)
            old = self.pids.pop(name, None)
            self.adopts.pop(name, None)
            if old is not None:
                self.daemon.wait(lambda _: not self.alive(old), f"{name} ({old}) ended for its restart")

    def add_or_remove(self, name: str) -> None:
        """The file names one member more or less, and is loaded."""
        self.named ^= {name}
        self.stopped.discard(name)
        self.pids.pop(name, None)
        self.adopts.pop(name, None)
        self.reload()

    def edit_unwatched(self, name: str) -> None:
        """The file names one member more or less while no watchdog runs: the next one ends or starts it."""
        if name in self.stopped:
            return  # whether it stays stopped depends on whether a watchdog ever missed it
        self.named ^= {name}
        self.stopped.discard(name)
        self.pids.pop(name, None)
        self.daemon.write(self.config())

    def change(self, name: str) -> None:
        """The file changes one member: only that one is replaced."""
        self.versions[name] += 1
        if name in self.named:
            self.pids.pop(name, None)
            self.adopts.pop(name, None)
        self.reload()

    def break_the_file(self, _: str = "") -> None:
        """A broken file is refused and changes nothing."""
        self.daemon.write("members: {ant: {proces: 1}}")
        assert self.daemon.run("reload").returncode == 3
        self.daemon.write(self.config())

    def freeze_and_thaw(self, _: str = "") -> None:
        """SIGSTOP and SIGCONT of the watchdog, with a death in between."""
        assert self.daemon.process
        self.daemon.process.send_signal(signal.SIGSTOP)
        if self.pids:
            os.kill(self.pids.pop(next(iter(self.pids))), signal.SIGKILL)
        self.daemon.process.send_signal(signal.SIGCONT)

    def start_a_second_watchdog(self, _: str = "") -> None:
        """It is refused, with the pid of the first."""
        assert self.daemon.process
        done = self.daemon.run("up", "--plain", "-c", str(self.daemon.config))
        assert done.returncode == 1, done.stderr
        assert str(self.daemon.process.pid) in done.stderr

    # -- what must hold ------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """With a watchdog: exactly the wanted trees. Without: nobody died of it."""
        if not self.up:
            assert all(self.alive(pid) for pid in self.pids.values()), "a member died with the watchdog"
            return
        self.settle()

    def lines_complete(self) -> None:
        """Of every process that ever wrote: its lines from 0 on, each once, in order, and one for each answer it ever gave."""
        for name in self.names:
            self.until(lambda name=name: self.unlogged(name), "not every line is in the journal")

    def unlogged(self, name: str) -> str:
        """Whose lines are fewer than its answers, or nothing."""
        counts: Counter[str] = Counter()
        for line in journal.read(self.daemon.state, name, (self.stream(name),), n=None):
            life, number = line.text.split()
            assert int(number) == counts[life], f"{name}: {line.text} after {counts[life] - 1}"
            counts[life] += 1
        written = Counter[int]()
        for life, count in counts.items():
            written[int(life.split("@")[0])] += count
        answered = {pid: count for (who, pid), count in self.answered.items() if who == name}
        fewer = [f"{pid}: {written[pid]} of {count}" for pid, count in answered.items() if written[pid] < count]
        return f"{name}: {fewer}" if fewer else ""

    def settle(self) -> None:
        """Wait until what runs is what is wanted; then it must be so in every respect."""
        self.until(self.wrong, "not at rest")

    def until(self, look: Callable[[], str], words: str) -> None:
        """Wait until `look` finds nothing wrong."""
        deadline = time.monotonic() + SETTLE
        while wrong := look():
            if time.monotonic() > deadline:
                raise AssertionError(f"{words} after {SETTLE}s: {wrong}\n{self.trace[-12:]}\n{self.daemon.said()[-6000:]}")
            time.sleep(0.02)

    def wrong(self) -> str:
        """What is not yet as it must be, or nothing."""
        status = self.daemon.status()
        if not status["daemon"]["pid"]:
            return "no daemon"
        shown = {member["name"]: member for member in status["members"]}
        if set(shown) - self.others != self.named:
            return f"status shows {sorted(shown)}"
        now = self.table.scan()
        trees = self.trees(now)
        wanted = self.named - self.stopped
        for name, pids in trees.items():
            if pids and name not in wanted | self.others:
                return f"{name} is not wanted and lives: {sorted(pids)}"
        fresh: dict[str, int] = {}
        for name in wanted:
            member, pids = shown[name], trees.get(name, set())
            pid = member["pid"]
            if member["phase"] != "running" or pid not in pids:
                return f"{name} is {member['phase']} with pid {pid}, its tree is {sorted(pids)}"
            if len(pids) != self.tree(name):
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
            assert fresh.get(name, pid) == pid, f"{name}: restarted, not adopted: {pid} -> {fresh.get(name)}; {self.trace[-9:]}"
        for name in set(self.pids) & set(fresh):
            old = self.pids[name]
            assert fresh[name] == old, f"{name}: restarted without need: {old} -> {fresh[name]}; {self.trace[-9:]}"
        self.adopts = {}
        self.pids = fresh
        self.generations |= {name: shown[name]["generation"] for name in wanted}
        return ""

    def tree(self, name: str) -> int:
        """How many processes a member is."""
        return TREE

    def stream(self, name: str) -> str:
        """Where a member writes its lines."""
        return "stdout"

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
            if said := connection.recv(64):  # nothing: the process died between the handshake of the kernel and its answer
                self.answered[name, int(said)] += 1
                return int(said)
        return 0

    def command(self, name: str, verb: str) -> None:
        """Ask the watchdog."""
        ControlSettings.state_dir = self.daemon.state
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
