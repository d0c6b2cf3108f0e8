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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpwatch import journal
from mcpwatch.app.paths import StatePaths
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.model.errors import McpwatchError
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable
from tests.chaos.lines import shortfall
from tests.e2e.daemon import Daemon

NAMES = ("ant", "bee", "cat")
PROGRAM = Path(__file__).with_name("member.py")
SETTLE = 90.0
"""Seconds within which the fleet must be at rest after a step."""
LONG = 600.0
"""Seconds for one command of the command line; one that never ends is found all the same."""
VERBS = ("start", "stop", "restart")
STARVED = 4
"""Load of each processor at which an upgrade may be refused for the time that it takes."""
NEAR = 5.0
"""Seconds by which what is shown may be off in its age."""
TREE = 2
"""A member is its main process and one child."""


def quiet_port() -> int:
    """A free port below those that outgoing connections get, so that nobody else takes it while its member is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def ages(status: dict[str, Any]) -> list[tuple[str, float]]:
    """For how many seconds each thing that is shown with its age is said to be so."""
    moments = {("daemon", "started_at"): status["daemon"]["started_at"]}
    moments |= {
        (member["name"], key): member[key] for member in status["members"] for key in ("since", "verdict_since", "started_at")
    }
    moments |= {(f"/{route['name']}", key): route[key] for route in status["routes"] for key in ("verdict_since", "last_success")}
    return [(" ".join(what), status["at"] - moment) for what, moment in moments.items() if moment is not None]


class NothingToDoError(Exception):
    """What was drawn changes nothing now: a member that is not there. Another is drawn."""


@dataclass(frozen=True)
class Seen:
    """One look: what the status says, the processes there are, and those of the fleet by the member in their mark."""

    status: dict[str, Any]
    processes: ProcessSnapshot
    trees: dict[str, set[int]]

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        """The members of the status by name."""
        return {member["name"]: member for member in self.status["members"]}


class Chaos:
    """The model is three small facts: which members the file names, which an operator stopped, whether a watchdog runs."""

    names: tuple[str, ...] = NAMES
    others: frozenset[str] = frozenset()
    """Members that the status shows besides those that the walk is about."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mwchaos-"))
        self.began = time.monotonic()
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
        self.done: Counter[str] = Counter()
        """Faults by the name of their action."""
        self.proved: Counter[str] = Counter()
        """Those after which the fleet came to rest as it should."""
        self.calls: Counter[str] = Counter()
        """Calls of a client while something befell the watchdog alone, `good` and `failed`; `kills` of it that a client saw."""
        self.harmed = False
        """Whether a file of the state directory was harmed in the life of this watchdog: it may end before it has mended it."""
        self.always: list[Callable[[str], None]] = [self.kill_member, self.kill_member, self.kill_everyone, self.kill_grandchild]
        self.without: list[Callable[[str], None]] = [*[self.start_watchdog] * 5, self.edit_unwatched]
        self.with_watchdog: list[Callable[[str], None]] = [
            self.kill_watchdog,
            self.kill_watchdog,
            self.kill_watchdog_in_the_middle,
            self.upgrade_in_place,
            self.leave_the_fleet,
            self.stop_the_fleet,
            self.stop,
            self.start,
            self.restart,
            self.add_or_remove,
            self.change,
            self.freeze_and_thaw,
            self.break_the_file,
            self.start_a_second_watchdog,
        ]
        self.invariants: dict[str, Callable[[Seen], str]] = {
            "orphans": self.orphans,
            "duplicates": self.duplicates,
            "screens": self.false_screens,
            "restarts": self.needless_restarts,
            "lines": self.lines,
        }
        """What must be so at rest; each says what is not, or nothing."""
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
        drawn = ""
        while not drawn:
            action, name = luck.choice(self.always + (self.with_watchdog if self.up else self.without)), luck.choice(self.names)
            self.trace.append(f"{action.__name__}({name})")
            try:
                action(name)
                drawn = action.__name__
            except NothingToDoError:
                self.trace.pop()
        self.done[drawn] += 1
        self.at_rest()
        self.proved[drawn] += 1

    # -- what can happen -----------------------------------------------------------------------------------------------

    def start_watchdog(self, _: str = "") -> None:
        """The next watchdog: what lives is adopted, with the same pids."""
        self.adopts = {name: pid for name, pid in self.pids.items() if self.alive(pid)}
        self.daemon.start("--no-watch-config")
        self.up = True
        if self.harmed:  # what the last one had no time to write anew is forgotten: numbers, and what an operator said
            self.harmed = False
            self.generations.clear()
            for name in self.stopped & self.named:
                self.command(name, "stop")

    def kill_watchdog(self, _: str = "") -> None:
        """SIGKILL: nothing else may notice."""
        assert self.daemon.process
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait()
        self.up = False

    def kill_watchdog_in_the_middle(self, name: str) -> None:
        """SIGKILL right after a command: wherever it was between intent, spawn and record."""
        self.known(name)
        self.command(name, VERBS[len(self.trace) % 3])
        self.pids.pop(name, None)
        self.kill_watchdog()
        # The command may or may not have been remembered; a clear word from the operator settles it.
        self.start_watchdog()
        self.start(name)

    def upgrade_in_place(self, _: str = "") -> None:
        """The watchdog becomes its own next version: same pid, same members."""
        self.settle()
        self.adopts = dict(self.pids)
        assert self.daemon.process
        before = self.daemon.status()["daemon"]["started_at"]
        try:
            call("POST", "/upgrade", timeout=LONG)
        except McpwatchError as error:
            if "the running watchdog stays" in str(error) and os.getloadavg()[0] > STARVED * (os.cpu_count() or 1):
                raise NothingToDoError from error  # refused, as it should be: the new code had no processor to start on
            raise
        self.daemon.wait(lambda status: status["daemon"]["pid"] and status["daemon"]["started_at"] != before, "it came back")

    def leave_the_fleet(self, _: str = "") -> None:
        """The watchdog ends and leaves its members running."""
        done = self.daemon.run("down", "--leave", "--timeout", f"{LONG:.0f}s", timeout=LONG)
        assert done.returncode == 0, done.stderr
        assert self.daemon.process
        self.daemon.process.wait(LONG)
        self.up = False

    def stop_the_fleet(self, _: str = "") -> None:
        """SIGTERM: the watchdog ends the fleet, whole trees, and itself."""
        code, left = self.daemon.stop(), self.daemon.marked()
        assert (code, left) == (0, []), f"the watchdog ended with {code} and left {left}"
        self.pids.clear()
        self.up = False

    def kill_member(self, name: str) -> None:
        """SIGKILL to a main process, with or without a watchdog looking."""
        if name not in self.pids:
            raise NothingToDoError
        os.kill(self.pids.pop(name), signal.SIGKILL)

    def kill_everyone(self, _: str = "") -> None:
        """The whole fleet dies at once."""
        if not self.pids:
            raise NothingToDoError
        for name in tuple(self.pids):
            os.kill(self.pids.pop(name), signal.SIGKILL)

    def kill_grandchild(self, name: str) -> None:
        """SIGKILL to the child of a member; the member replaces it, and we must not mind."""
        main = self.pids.get(name)
        children = [pid for pid in self.trees(self.table.scan()).get(name, ()) if main is not None and pid != main]
        if not children:
            raise NothingToDoError
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """An operator stops a member."""
        self.known(name)
        self.command(name, "stop")
        self.stopped.add(name)
        self.pids.pop(name, None)
        self.adopts.pop(name, None)

    def start(self, name: str) -> None:
        """An operator starts a member."""
        self.known(name)
        self.command(name, "start")
        self.stopped.discard(name)

    def restart(self, name: str) -> None:
        """An operator restarts a member: another process, whatever it was."""
        self.known(name)
        self.command(name, "restart")
        self.stopped.discard(name)
        old = self.pids.pop(name, None)
        self.adopts.pop(name, None)
        if old is not None:
            self.daemon.wait(lambda _: not self.alive(old), f"{name} ({old}) ended for its restart")

    def known(self, name: str) -> None:
        """Only of what the file names can an operator say something."""
        if name not in self.named:
            raise NothingToDoError

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
            raise NothingToDoError  # whether it stays stopped depends on whether a watchdog ever missed it
        self.named ^= {name}
        self.stopped.discard(name)
        self.pids.pop(name, None)
        self.daemon.write(self.config())

    def change(self, name: str) -> None:
        """The file changes one member: only that one is replaced."""
        self.known(name)
        self.versions[name] += 1
        self.pids.pop(name, None)
        self.adopts.pop(name, None)
        self.reload()

    def break_the_file(self, _: str = "") -> None:
        """A broken file is refused and changes nothing."""
        self.daemon.write("members: {ant: {proces: 1}}")
        self.refused()

    def refused(self) -> None:
        """The file as it is now is refused; the right one is put back, and need not be loaded."""
        done = self.daemon.run("reload", timeout=LONG)
        assert done.returncode == 3, done
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
        done = self.daemon.run("up", "--plain", "-c", str(self.daemon.config), timeout=LONG)
        assert done.returncode == 1, done.stderr
        assert str(self.daemon.process.pid) in done.stderr

    # -- what must hold ------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """With a watchdog: exactly the wanted trees. Without: nobody died of it, and no screen shows one."""
        if self.up:
            self.settle()
            return
        assert all(self.alive(pid) for pid in self.pids.values()), f"a member died with the watchdog: {self.trace[-9:]}"
        assert not self.daemon.status()["daemon"]["pid"], "the status of a watchdog that is not there"

    def settle(self) -> None:
        """Wait until what runs is what is wanted; then it must be so in every respect."""
        self.until(self.wrong, "not at rest")

    def until(self, look: Callable[[], str], words: str) -> None:
        """Wait until `look` finds nothing wrong, for as long as the fleet has a processor to put it right."""
        patience = self.daemon.patience(SETTLE)
        while wrong := look():
            if patience.over():
                raise AssertionError(f"{words} after {SETTLE}s: {wrong}\n{self.trace[-12:]}\n{self.daemon.said()[-6000:]}")
            time.sleep(0.02)

    def answering(self, words: str) -> None:
        """The watchdog answers for its status, whatever befell it."""
        self.daemon.wait(lambda status: status["daemon"]["pid"], words)

    def wrong(self) -> str:
        """What is not yet as it must be, or nothing."""
        seen = self.look()
        if not seen.status["daemon"]["pid"]:
            return "no daemon"
        return next((f"{name}: {said}" for name, invariant in self.invariants.items() if (said := invariant(seen))), "")

    def look(self) -> Seen:
        """The status first: what it says was so before what is seen."""
        status = self.daemon.status()
        now = self.table.scan()
        return Seen(status, now, self.trees(now))

    def orphans(self, seen: Seen) -> str:
        """Processes of a member that nobody wants, and dead ones that the watchdog does not bury."""
        wanted = (self.named - self.stopped) | self.others
        lives = {name: sorted(pids) for name, pids in seen.trees.items() if pids and name not in wanted}
        pid = seen.status["daemon"]["pid"]
        dead = [proc.pid for proc in seen.processes.procs.values() if proc.ppid == pid and not proc.alive]
        return f"not wanted and living: {lives}" if lives else f"zombies of the watchdog: {dead}" if dead else ""

    def duplicates(self, seen: Seen) -> str:
        """Members that are there twice, or not whole."""
        wrong = {name: sorted(pids) for name in self.shown() if len(pids := seen.trees.get(name, set())) != self.tree(name)}
        return f"more or fewer processes than there should be: {wrong}" if wrong else ""

    def all_well(self) -> bool:
        """Whether nothing in the file is meant to fail."""
        return True

    def shown(self) -> set[str]:
        """Every member that must run now."""
        return self.named - self.stopped

    def false_screens(self, seen: Seen) -> str:
        """Where the status says what is not so: of members, their phases, pids and generations, and of the whole fleet."""
        if set(seen.members) - self.others != self.named:
            return f"status shows {sorted(seen.members)}"
        if not seen.status["healthy"] and self.all_well():
            return f"all runs, and the fleet is told as not healthy: {seen.status['diagnoses']}"
        if wrong := {what: round(age) for what, age in ages(seen.status) if not -NEAR < age < time.monotonic() - self.began + NEAR}:
            return f"told as so many seconds old: {wrong}"
        for name, member in seen.members.items():
            pid = member["pid"]
            if name in self.named & self.stopped and (member["phase"], pid) != ("stopped", None):
                return f"{name} is stopped, and told as {member['phase']} with pid {pid}"
            if name in self.shown() and (member["phase"] != "running" or pid not in seen.trees.get(name, ())):
                return f"{name} is {member['phase']} with pid {pid}, its tree is {sorted(seen.trees.get(name, ()))}"
            if name in self.named - self.stopped and self.answers(name) != pid:
                return f"{name}: its port is not answered by {pid}"
            if member["generation"] < self.generations.get(name, 0):
                return f"{name}: generation {member['generation']} after {self.generations[name]}"
        return ""

    def needless_restarts(self, seen: Seen) -> str:
        """Raises `AssertionError` for a healthy member with another pid than before, which no waiting mends."""
        fresh = {name: seen.members[name]["pid"] for name in self.named - self.stopped}
        for name, pid in self.adopts.items():
            assert fresh.get(name, pid) == pid, f"{name}: restarted, not adopted: {pid} -> {fresh.get(name)}; {self.trace[-9:]}"
        for name in set(self.pids) & set(fresh):
            old = self.pids[name]
            assert fresh[name] == old, f"{name}: restarted without need: {old} -> {fresh[name]}; {self.trace[-9:]}"
        self.adopts = {}
        self.pids = fresh
        self.generations |= {name: seen.members[name]["generation"] for name in fresh}
        return ""

    def lines(self, _: Seen) -> str:
        """Of every process that ever wrote: its lines from 0 on, each once, in order, and one for each answer it ever gave."""
        return next((said for name in self.names if (said := self.unlogged(name, self.daemon.state))), "")

    def unlogged(self, name: str, state: Path) -> str:
        """Whose lines are fewer than its answers, or nothing. Raises `AssertionError` for one that is there twice or missing."""
        answered = {pid: count for (who, pid), count in self.answered.items() if who == name}
        try:
            fewer = shortfall((line.text for line in journal.read(state, name, (self.stream(name),), n=None)), answered)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}; {self.trace[-9:]}") from None
        return f"{name}: {fewer}" if fewer else ""

    def tree(self, name: str) -> int:
        """How many processes a member is."""
        return TREE

    def stream(self, name: str) -> str:
        """Where a member writes its lines."""
        return "stdout"

    def trees(self, now: ProcessSnapshot) -> dict[str, set[int]]:
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
        done = self.daemon.run("reload", timeout=LONG)
        assert done.returncode == 0, done.stderr

    def teardown(self) -> None:
        """Stop all of it; nothing may live afterwards."""
        try:
            if self.up and self.daemon.process and self.daemon.process.poll() is None:
                self.stop_the_fleet()
        finally:
            self.daemon.close()
            shutil.rmtree(self.directory, ignore_errors=True)
