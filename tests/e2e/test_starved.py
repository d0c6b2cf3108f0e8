"""A watchdog on a machine that runs out of things: descriptors, threads."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from mcpwatch import journal
from mcpwatch.app.hang import of_memory
from tests.e2e.daemon import Daemon
from tests.e2e.test_supervision import lives
from tests.parts import ROOT, pids_group

WAIT = 120.0


def limited(directory: Path, limit: int, count: int) -> Daemon:
    """A fleet of idle processes, each checked every second, under a limit of open files that cannot be raised."""
    check = {"process": {"interval": "1s"}}
    sleeper = {"command": sys.executable, "args": ["-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]}
    members = {f"m{number}": {"route": False, "process": sleeper, "checks": check} for number in range(count)}
    daemon = Daemon(directory, {"version": 1, "proxy": {"kind": "none"}, "members": members})
    daemon.wrap = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
    return daemon


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_watchdog_with_sixty_four_descriptors_serves_its_commands_and_leaves_no_orphan(tmp_path: Path) -> None:
    daemon = limited(tmp_path, 64, 12)
    try:
        daemon.start()
        status = daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        assert status["daemon"]["carries"] == 16
        daemon.wait(lambda _: "the limit of open files carries about 16" in daemon.said(), "it says what that carries", WAIT)
        before = lives(daemon)
        for name in ("m0", "m5", "m11"):
            os.kill(before[name][0], signal.SIGKILL)
            daemon.wait(lambda _, name=name: daemon.member(name)["generation"] == 2, "it is started again", WAIT)
        assert daemon.run("restart", "m3").returncode == 0
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run again", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert "Traceback" not in daemon.said()
    finally:
        daemon.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_more_members_than_descriptors_carry_all_run_are_restarted_and_leave_no_orphan(tmp_path: Path) -> None:
    daemon = limited(tmp_path, 96, 56)
    try:
        daemon.start()
        status = daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        assert status["daemon"]["carries"] < 56
        before = lives(daemon)
        for name in ("m0", "m55"):
            os.kill(before[name][0], signal.SIGKILL)
            daemon.wait(lambda _, name=name: daemon.member(name)["generation"] == 2, "it is started again", WAIT)
            assert daemon.run("restart", name, timeout=WAIT).returncode == 0
        after = daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run again", WAIT)
        assert {m["name"]: m["generation"] for m in after["members"] if m["generation"] != 1} == {"m0": 3, "m55": 3}
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert "Too many open files" not in daemon.said()
    finally:
        daemon.close()


COUNT = "import time\nfor n in range(10**9):\n print(n, flush=True)\n time.sleep(0.2)"


def counting(directory: Path) -> Daemon:
    """Three members that write numbers."""
    program = {"command": sys.executable, "args": ["-S", "-c", COUNT]}
    restart = {"backoff": {"first": "100ms", "max": "1s"}, "retry": "1s"}
    members = {f"m{number}": {"route": False, "process": program} for number in range(3)}
    return Daemon(directory, {"version": 1, "proxy": {"kind": "none"}, "members": members, "defaults": {"restart": restart}})


def numbers(daemon: Daemon, member: str) -> list[int]:
    return [int(line.text) for line in journal.read(daemon.state, member, ("stdout",), None)]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("user-namespace")
def test_a_watchdog_without_inotify_watches_logs_every_line_and_still_sees_its_file_change(tmp_path: Path) -> None:
    daemon = counting(tmp_path)
    limit = 'echo 0 > /proc/sys/user/max_inotify_watches; exec "$@"'
    daemon.wrap = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    try:
        daemon.start()
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        daemon.wait(lambda _: numbers(daemon, "m1")[9:], "ten lines are logged", WAIT)
        assert (seen := numbers(daemon, "m1")) == list(range(len(seen)))
        assert "no inotify watch is left" in daemon.said()
        text = json.loads(daemon.config.read_text(encoding="utf-8"))
        del text["members"]["m2"]
        daemon.write(text)
        daemon.wait(lambda s: {m["name"] for m in s["members"]} == {"m0", "m1"}, "the changed file is loaded", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert "Traceback" not in daemon.said()
    finally:
        daemon.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("pids-group")
def test_a_machine_that_gives_out_no_more_processes_is_named_and_the_member_comes_back_with_room(tmp_path: Path) -> None:
    group = pids_group(f"mcpwatch-test-{os.getpid()}")
    group.mkdir()
    daemon = counting(tmp_path)
    daemon.wrap = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    try:
        daemon.start()
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        before = lives(daemon)
        (group / "pids.max").write_text("1")
        os.kill(before["m0"][0], signal.SIGKILL)
        daemon.wait(lambda _: "no more processes" in str(daemon.member("m0")["reason"]), "the reason is told by name", WAIT)
        assert daemon.run("status", "--json").returncode == 1
        assert {name: life for name, life in lives(daemon).items() if name != "m0"} == {n: before[n] for n in ("m1", "m2")}
        (group / "pids.max").write_text("max")
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "it comes back", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert "Traceback" not in daemon.said()
    finally:
        daemon.close()
        group.rmdir()


NO_MEMORY = """import os, signal
try:
    import _testcapi
except ImportError:
    _testcapi = None
def refuse(*_):
    with open(os.environ["REFUSE"]) as file:
        first, count = map(int, file.read().split())
    _testcapi.set_nomemory(first, first + count)
signal.signal(signal.SIGUSR2, refuse)
"""
"""What every interpreter of the fleet loads at its start: on a signal, allocations are refused."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
def test_memory_that_is_refused_at_any_moment_costs_no_member_and_at_most_a_start_anew(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("_testcapi")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_MEMORY, encoding="utf-8")
    dial = tmp_path / "refuse"
    daemon = counting(tmp_path)
    daemon.env |= {"REFUSE": str(dial), "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}
    luck = random.Random(seed)
    try:
        daemon.start()
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        before = lives(daemon)
        assert daemon.process is not None
        for _ in range(8):
            dial.write_text(f"{int(10 ** luck.uniform(0, 5))} {luck.choice([1, 1, 10, 100])}", encoding="utf-8")
            os.kill(daemon.process.pid, signal.SIGUSR2)
            daemon.run("events", "-n", "3", timeout=WAIT)
            daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]) and s["members"], "it answers", WAIT)
        daemon.wait(lambda _: lives(daemon) == before, "the same members", WAIT)  # it may begin anew once more
        assert daemon.stop() == 0
        assert daemon.marked() == []
    finally:
        daemon.close()


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (MemoryError(), True),
        (ExceptionGroup("", [ValueError(), ExceptionGroup("", [MemoryError()])]), True),
        (ValueError(), False),
        (ExceptionGroup("", [ValueError()]), False),
    ],
)
def test_refused_memory_is_known_however_it_comes_out(error: Exception, so: bool) -> None:
    last = RuntimeError("cleaning up")
    last.__context__ = error
    assert of_memory(last) is so
