"""One watchdog per state directory."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.model.errors import AlreadyRunning, McpwatchError
from mcpwatch.runtimes.lock import Lock, owner

HOLDER = """
import sys
from pathlib import Path
from mcpwatch.runtimes.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as first:
        assert owner(tmp_path / "lock") == first.pid
        with pytest.raises(AlreadyRunning, match=f"already owned by pid {first.pid}"), Lock(tmp_path / "lock"):
            pass
        first.kill()


def test_the_lock_of_a_killed_owner_is_taken_over(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert owner(tmp_path / "lock") is None
    with Lock(tmp_path / "lock"):
        assert owner(tmp_path / "lock") == os.getpid()
    assert owner(tmp_path / "lock") is None


@pytest.mark.slow
def test_a_lock_that_a_dead_owner_s_unfinished_child_still_holds_is_waited_for(tmp_path: Path) -> None:
    """Between fork and exec a child shares the lock; here it does so for 0.2 s after the owner's death."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom mcpwatch.runtimes.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])).__enter__()\n"
        "if not os.fork():\n    os.close(1)\n    time.sleep(0.2)\n    os._exit(0)\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=True)
    with Lock(tmp_path / "lock"):
        pass


def test_a_state_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(McpwatchError, match="cannot be opened: No such file or directory"), Lock(tmp_path / "no" / "lock"):
        pass


def test_a_lock_that_somebody_removed_is_taken_again_by_its_owner_and_refuses_a_second_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path) as mine:
        assert mine.held
        path.unlink()
        assert not mine.held
        mine.take_again()
        assert mine.held
        assert owner(path) == os.getpid()
        with pytest.raises(AlreadyRunning), Lock(path):
            pass


@pytest.mark.slow
def test_who_lost_a_removed_lock_to_another_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path) as mine:
        path.unlink()
        with holder(path) as other:
            with pytest.raises(AlreadyRunning, match=f"already owned by pid {other.pid}"):
                mine.take_again()
            assert not mine.held
            other.kill()


def test_a_lock_removed_between_opening_and_locking_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock, removed = tmp_path / "lock", fcntl.flock, list[int]()

    def remove_first(fd: int, how: int) -> None:
        if not removed:
            path.unlink()
            removed.append(fd)
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with Lock(path) as mine:
        assert mine.held


def test_an_owner_whose_pid_somebody_cut_out_of_the_file_writes_it_again(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock") as lock:
        for harm in ("", "1\n", "no number"):
            (tmp_path / "lock").write_text(harm, encoding="utf-8")
            lock.name_owner()
            assert (tmp_path / "lock").read_text(encoding="utf-8") == f"{os.getpid()}\n"
