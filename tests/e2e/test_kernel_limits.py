"""What the kernel itself refuses or hides: a user's limit of processes, hidden processes, a process table that is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.test_supervision import lives
from tests.parts import OTHER_USER, as_other_user

WAIT = 120.0
COUNT = "while :; do echo $((n += 1)); sleep 0.2; done"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def daemon() -> Generator[Daemon]:
    """A watchdog over three shells that write numbers, not yet started, in a directory that other users may reach."""
    restart = {"backoff": {"first": "100ms", "max": "1s"}, "retry": "1s"}
    program = {"command": "/bin/sh", "args": ["-c", COUNT]}
    members = {f"m{number}": {"route": False, "process": program} for number in range(3)}
    config = {"version": 1, "proxy": {"kind": "none"}, "members": members, "defaults": {"restart": restart}}
    with tempfile.TemporaryDirectory(prefix="mcpwatch-limits-") as place:
        Path(place).chmod(0o755)
        daemon = Daemon(Path(place), config)
        try:
            yield daemon
        finally:
            daemon.close()


def running(daemon: Daemon) -> dict[str, tuple[int, int]]:
    """Wait until all run; their pids and generations."""
    daemon.wait(lambda s: s["members"] and all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
    return lives(daemon)


def lost(daemon: Daemon, name: str) -> None:
    """A member dies."""
    os.kill(lives(daemon)[name][0], signal.SIGKILL)


def of_other_user(daemon: Daemon, *before: str) -> None:
    """The watchdog and all it starts belong to another user, who may not do what root may."""
    os.chown(daemon.directory, OTHER_USER, OTHER_USER)
    daemon.wrap = [*before, *as_other_user()]


def leader(pid: int) -> int:
    """Whose session a process is in: that of its member's main process."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def marked(daemon: Daemon, name: str) -> list[int]:
    """Processes of one member."""
    found: list[int] = []
    for pid in daemon.marked():
        with contextlib.suppress(OSError):  # a short sleep of another
            if f"/{name}/".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


@pytest.mark.needs("other-user")
def test_a_user_with_no_process_left_is_told_so_by_name_and_the_member_comes_back_with_room(daemon: Daemon) -> None:
    of_other_user(daemon)
    daemon.start()
    before = running(daemon)
    assert daemon.process is not None

    def allow(soft: str) -> None:
        assert daemon.process is not None
        subprocess.run([*as_other_user(), "prlimit", f"--nproc={soft}:", "--pid", str(daemon.process.pid)], check=True)

    allow("1")
    lost(daemon, "m0")
    daemon.wait(lambda _: "no more processes" in str(daemon.member("m0")["reason"]), "the reason is told by name", WAIT)
    assert daemon.run("status", "--json").returncode == 1
    assert {name: life for name, life in lives(daemon).items() if name != "m0"} == {name: before[name] for name in ("m1", "m2")}
    allow("500")
    after = running(daemon)
    assert {name: after[name] for name in ("m1", "m2")} == {name: before[name] for name in ("m1", "m2")}
    assert daemon.stop() == 0
    assert daemon.marked() == []
    assert "Traceback" not in daemon.said()


@pytest.mark.needs("other-user")
@pytest.mark.needs("proc-mount")
@pytest.mark.parametrize("hide", ["noaccess", "invisible", "ptraceable"])
def test_a_watchdog_to_whom_the_kernel_hides_other_users_processes_supervises_adopts_and_stops_all_of_its_own(
    daemon: Daemon, hide: str
) -> None:
    of_other_user(daemon, "unshare", "--mount", "sh", "-c", f'mount -t proc -o hidepid={hide} proc /proc && exec "$@"', "sh")
    daemon.start()
    running(daemon)
    lost(daemon, "m0")
    daemon.wait(lambda _: daemon.member("m0")["generation"] == 2, "it is started again", WAIT)
    before = running(daemon)
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    assert running(daemon) == before
    assert daemon.stop() == 0
    assert daemon.marked() == []
    assert "Traceback" not in daemon.said()


@pytest.mark.needs("proc-mount")
def test_a_process_table_that_goes_away_is_told_and_nobody_is_started_twice_or_left(daemon: Daemon) -> None:
    daemon.wrap = ["unshare", "--mount"]
    daemon.start()
    before = running(daemon)
    assert daemon.process is not None
    inside = ["nsenter", "--mount", "--target", str(daemon.process.pid)]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "none", "/proc"], check=True)
    lost(daemon, "m0")
    daemon.wait(lambda _: "/proc: cannot be read" in str(daemon.member("m0")["reason"]), "the reason is told", WAIT)
    assert {name: life for name, life in lives(daemon).items() if name != "m0"} == {name: before[name] for name in ("m1", "m2")}
    assert marked(daemon, "m0") == [], "not started while nobody can see whether all of it has ended"
    assert "limit of open files is reached" not in daemon.said()
    subprocess.run([*inside, "umount", "/proc"], check=True)
    after = running(daemon)
    assert {name: after[name] for name in ("m1", "m2")} == {name: before[name] for name in ("m1", "m2")}
    assert {leader(pid) for pid in daemon.marked()} - {0} == {pid for pid, _ in after.values()}
    assert daemon.stop() == 0
    assert daemon.marked() == []
    assert "Traceback" not in daemon.said()


@pytest.mark.needs("proc-mount")
def test_a_watchdog_without_a_process_table_starts_nobody_and_says_why(daemon: Daemon) -> None:
    daemon.wrap = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    daemon.start()
    daemon.wait(lambda s: "/proc: cannot be read" in s["members"][0]["reason"], "the reason is told", WAIT)
    assert daemon.run("status", "--json").returncode == 1
    assert daemon.marked() == []
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()
