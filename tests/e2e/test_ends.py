"""How a watchdog ends and goes on: its terminal closes, its output has no reader, a signal comes to its whole group."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.test_supervision import all_run, plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WAIT = 60.0


def test_a_live_table_whose_terminal_goes_away_is_no_trouble_of_the_fleet(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, plain(2))
    ours, theirs = pty.openpty()
    env = daemon.env | {"TERM": "xterm"}
    command = [sys.executable, "-m", "mcpwatch", "up", "-c", str(daemon.config)]
    try:
        process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        daemon.process = process
        os.close(theirs)
        daemon.output.touch()
        shown = b""
        while b"mcpwatch status" not in shown:  # the table is drawn
            shown += os.read(ours, 65536)
        all_run(daemon, 1)
        os.close(ours)
        ours = -1
        daemon.wait(lambda s: s["daemon"]["pid"] == process.pid, "it goes on", WAIT)
        assert daemon.run("restart", "m0").returncode == 0
        daemon.wait(lambda _: daemon.member("m0")["generation"] == 2, "it does what it is told", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert [fact["text"] for fact in daemon.events() if fact["fact"] == "troubled"] == []
    finally:
        if ours >= 0:
            os.close(ours)
        daemon.close()


@pytest.mark.parametrize("to", ["process", "group"])
def test_a_watchdog_whose_output_nobody_reads_ends_well_when_it_is_told_to(tmp_path: Path, to: str) -> None:
    daemon = Daemon(tmp_path, plain(2))
    command = [sys.executable, "-m", "mcpwatch", "up", "--plain", "-c", str(daemon.config)]
    read, wrote = os.pipe()
    try:
        process = subprocess.Popen(
            command, env=daemon.env, stdin=subprocess.DEVNULL, stdout=wrote, stderr=wrote, start_new_session=True
        )
        daemon.process = process
        daemon.output.touch()
        os.close(wrote)
        all_run(daemon, 1)
        os.close(read)
        assert daemon.run("restart", "m0").returncode == 0
        daemon.wait(lambda _: daemon.member("m0")["generation"] == 2, "it does what it is told", WAIT)
        if to == "group":
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(WAIT) == 0
        else:
            assert daemon.stop() == 0
        assert daemon.marked() == []
    finally:
        daemon.close()


def test_a_stop_that_a_locked_store_cannot_keep_is_answered_as_a_failure_and_kept_once_it_can(tmp_path: Path) -> None:
    with running(tmp_path, plain(2)) as daemon:
        all_run(daemon, 1)
        with contextlib.closing(sqlite3.connect(daemon.state / "state.db", isolation_level=None, timeout=60.0)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = daemon.run("stop", "m0")
            assert refused.returncode == 5
            assert "a restart of the watchdog would forget it" in refused.stderr
            other.execute("ROLLBACK")
        daemon.wait(lambda _: "the store can be written again" in daemon.said(), "it is written after all", WAIT)
        daemon.stop(signal.SIGKILL)
        daemon.start()
        all_run_but = daemon.wait(lambda _: daemon.member("m1")["phase"] == "running", "the other one runs", WAIT)
        assert {member["name"]: member["want"] for member in all_run_but["members"]} == {"m0": "down", "m1": "up"}
