"""A watchdog whose event loop hangs, with nobody to watch it: it starts itself anew, and its members do not notice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpwatch.app.hang import LOOKS, HangWatch, hang_after
from tests.e2e.daemon import Daemon
from tests.e2e.load import Load
from tests.e2e.test_main_job import NOW, fleet, hosted, route
from tests.e2e.test_supervision import lives

WAIT = 180.0


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [({}, 60.0), ({"MCPWATCH_HANG_AFTER": "5"}, 5.0), ({"MCPWATCH_HANG_AFTER": "0"}, 0.0), ({"MCPWATCH_HANG_AFTER": "soon"}, 60.0)],
)
def test_how_long_a_hang_is_comes_from_the_environment_and_a_word_changes_nothing(
    environment: dict[str, str], seconds: float
) -> None:
    assert hang_after(environment) == seconds


def test_alarms_are_counted_from_the_last_turn_of_the_loop_and_act_once(capfd: pytest.CaptureFixture[str]) -> None:
    acted: list[int] = []
    watch = HangWatch(lambda: acted.append(1), {})
    for _ in range(3):
        watch.beat()
        for _ in range(LOOKS):
            watch.look()
        assert acted == []
    watch.look()
    assert acted == [1]
    said = capfd.readouterr().err
    assert "the event loop did not turn for 60s" in said
    assert "test_alarms_are_counted" in said


@pytest.mark.slow
@pytest.mark.parametrize("hung_in", ["sys.stderr.write('x' * 1_000_000)", "while True: signal.pause()"])
def test_a_reader_of_the_output_that_is_stuck_keeps_no_hung_watchdog_from_starting_anew(hung_in: str) -> None:
    program = f"""
import os, signal, sys
from mcpwatch.app.hang import HangWatch

def anew():
    os.write(1, b"anew, blocking" if os.get_blocking(2) else b"anew")
    os._exit(0)

with HangWatch(anew, {{"MCPWATCH_HANG_AFTER": "0.6"}}).armed():
    {hung_in}
"""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writer, timeout=WAIT, check=False)
    finally:
        os.close(reader)
        os.close(writer)
    assert done.stdout == b"anew, blocking"


def test_nothing_is_armed_where_systemd_watches_or_the_alarm_is_taken() -> None:
    for environment in ({"WATCHDOG_USEC": "30000000"}, {"MCPWATCH_HANG_AFTER": "0"}):
        before = signal.getsignal(signal.SIGALRM)
        with HangWatch(lambda: None, environment).armed():
            assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_watchdog_hung_on_a_file_that_never_comes_says_where_starts_itself_anew_and_adopts(tmp_path: Path) -> None:
    config = fleet(time=hosted())
    config["defaults"]["check"]["timeout"] = "15s"
    variables = tmp_path / "variables.env"
    variables.write_text("A=1\n")
    process = {"command": "sleep", "args": ["600"], "env_file": [str(variables)]}
    config["members"]["trapped"] = {"route": False, "process": process}
    daemon = Daemon(tmp_path, config)
    daemon.env |= {"MCPWATCH_HANG_AFTER": "20"}
    try:
        daemon.start()
        daemon.healthy(WAIT)
        before, pid = lives(daemon), daemon.status()["daemon"]["pid"]
        with Load(route(config, "time"), *NOW) as load:
            variables.unlink()
            os.mkfifo(variables)  # as a file on a server that went away: whoever reads it waits for ever
            os.kill(before["trapped"][0], signal.SIGKILL)
            until_said(daemon, load, "the event loop did not turn for 20s")
            variables.unlink()
            variables.write_text("A=1\n")
            daemon.wait(lambda s: s["healthy"] and daemon.member("trapped")["phase"] == "running", "it is back", WAIT)
            load.progress()
        after = lives(daemon)
        assert daemon.status()["daemon"]["pid"] == pid
        assert {name: after[name] for name in ("time", "proxy")} == {name: before[name] for name in ("time", "proxy")}
        assert load.failures == []
        assert "in _env_file" in daemon.said(), "the stack tells where it hung"
        told = [str(f["text"]) for f in daemon.events() if f["fact"] == "troubled" and f["subject"] == "watchdog"]
        assert any(text.startswith("the watchdog hung for 20s") for text in told), told
    finally:
        daemon.close()


def until_said(daemon: Daemon, load: Load, words: str) -> None:
    """Wait for words in the output of a daemon that answers nobody, while its members serve on."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if words in daemon.said():
            return
        load.progress(5)
    raise AssertionError(f"never said: {words}\n{daemon.said()[-2000:]}")
