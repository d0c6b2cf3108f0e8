"""Every file of the state directory, harmed in every way under a running watchdog and before its next start: it mends or tells."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.test_supervision import all_run, lives, plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WAIT = 90.0


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def truncate(path: Path) -> None:
    if path.is_file():
        os.truncate(path, 0)


def by_directory(path: Path) -> None:
    remove(path)
    (path / "in the way").mkdir(parents=True)


def read_only(path: Path) -> None:
    if path.exists():
        path.chmod(0o400)


def everything(state: Path) -> list[Path]:
    """Each file there is now, and each directory that holds one; what an earlier harm set aside is left alone.

    Not the index of SQLite's log: it is mapped into memory, and who cuts it ends the process that maps it (SIGBUS; members stay).
    """
    found = [path for path in sorted(state.rglob("*")) if "aside" not in str(path) and "in the way" not in str(path)]
    return [path for path in found if path.name != "state.db-shm"]


def tells_the_truth(daemon: Daemon, pids: dict[str, int]) -> None:
    """Status, events and processes agree; a command works."""
    daemon.wait(lambda s: {m["name"]: m["pid"] for m in s["members"] if m["phase"] == "running"} == pids, "the members run", WAIT)
    assert sorted(daemon.marked()) == sorted(pids.values())


def shows_events(daemon: Daemon) -> None:
    """It prints what is recorded, or fails: never nothing and well."""
    asked = daemon.run("events", "--json", "-n", "5")
    assert (asked.returncode, bool(asked.stdout)) in ((0, True), (5, False), (1, False)), asked


@pytest.mark.parametrize("harm", [remove, truncate, by_directory, read_only])
def test_each_file_of_the_state_directory_harmed_in_use_costs_no_member_and_no_truth(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with running(tmp_path, plain(2)) as daemon:
        all_run(daemon, 1)
        assert daemon.run("restart", "m1").returncode == 0
        daemon.wait(lambda _: daemon.member("m1")["generation"] == 2, "a fact is recorded", WAIT)
        all_run(daemon, 1)
        pids = {name: pid for name, (pid, _) in lives(daemon).items()}
        for path in everything(daemon.state):
            harm(path)
            tells_the_truth(daemon, pids)
        shows_events(daemon)
        daemon.stop(signal.SIGKILL)
        daemon.start()
        tells_the_truth(daemon, pids)
        shows_events(daemon)
        assert daemon.run("restart", "m0").returncode == 0
        daemon.wait(lambda _: daemon.member("m0")["pid"] not in (None, pids["m0"]), "it is started again", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []


@pytest.mark.parametrize("harm", [remove, truncate, by_directory])
def test_each_file_of_the_state_directory_harmed_while_no_watchdog_runs_costs_no_member(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with running(tmp_path, plain(2)) as daemon:
        all_run(daemon, 1)
        pids = {name: pid for name, (pid, _) in lives(daemon).items()}
        daemon.stop(signal.SIGKILL)
        for path in everything(daemon.state):
            harm(path)
        daemon.start()
        tells_the_truth(daemon, pids)
        assert daemon.stop() == 0
        assert daemon.marked() == []


LEAVES = (
    "import os, sys, time\n"
    "if not os.fork():\n os.setsid(); os.closerange(0, 3)\n"
    "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
    "time.sleep(600)"
)
"""A member and its child in a session of its own, both with its mark."""


@pytest.mark.parametrize("harm", [remove, truncate, by_directory])
def test_a_member_that_died_with_its_record_is_started_again_and_not_shown_as_the_child_that_left_that(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    said = tmp_path / "pids"
    with running(tmp_path, plain(1, sys.executable, "-S", "-c", LEAVES, str(said))) as daemon:
        all_run(daemon, 1)
        daemon.wait(lambda _: len(said.read_text("utf-8").split()) == 2, "its child runs", WAIT)
        (main,) = (pid for pid, _ in lives(daemon).values())
        assert len(daemon.marked()) == 2
        daemon.stop(signal.SIGKILL)
        harm(daemon.state / "run" / "process" / "m0.json")
        os.kill(main, signal.SIGKILL)
        daemon.start()
        daemon.wait(lambda s: s["members"][0]["phase"] == "running", "it runs", WAIT)
        (fresh,) = (pid for pid, _ in lives(daemon).values())
        assert str(fresh) not in said.read_text("utf-8").split()[:2]
        daemon.wait(lambda _: len(daemon.marked()) == 2 and fresh in daemon.marked(), "what was left is ended", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
