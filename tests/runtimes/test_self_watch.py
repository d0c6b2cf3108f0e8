"""The watchdog's look at itself: gaps, lag, what systemd is told, and the unit that starts it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mcpwatch.app.hang import heartbeat, notify
from mcpwatch.runtimes import self_watch
from mcpwatch.runtimes.clock_gap import Gap, Tick, gaps
from mcpwatch.runtimes.self_watch import SelfWatch
from tests.parts import ROOT

START = Tick(monotonic=1000.0, boot=5000.0, wall=1_700_000_000.0)


def after(monotonic: float, boot: float | None = None, wall: float | None = None) -> Tick:
    boot = monotonic if boot is None else boot
    return Tick(START.monotonic + monotonic, START.boot + boot, START.wall + (boot if wall is None else wall))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (after(1.0), []),
        (after(2.9), []),
        (after(31.0), [("stopped", 30.0)]),
        (after(1.0, boot=3601.0), [("suspended", 3600.0)]),
        (after(1.0, wall=3601.0), [("clock_step", 3600.0)]),
        (after(1.0, wall=-3599.0), [("clock_step", -3600.0)]),
        (after(11.0, boot=111.0, wall=-89.0), [("suspended", 100.0), ("stopped", 10.0), ("clock_step", -200.0)]),
    ],
)
def test_each_kind_of_gap_is_told_apart_by_three_clocks(now: Tick, expected: list[tuple[str, float]]) -> None:
    found = gaps(START, now, every=1.0)
    assert [(gap.cause, round(gap.seconds, 6)) for gap in found] == expected
    assert all(gap.text and gap.until == now.wall for gap in found)


def test_a_tick_measures_the_lag_and_tells_a_gap_but_does_not_call_a_gap_lag() -> None:
    readings = [after(0.0), after(2.25), after(62.25)]
    seen: list[Gap] = []
    beats: list[int] = []
    watch = SelfWatch(seen.append, lambda: beats.append(1), iter(readings).__next__)
    watch.tick()
    assert watch.look().loop_lag == 0.25
    watch.tick()
    assert [gap.cause for gap in seen] == ["stopped"]
    assert watch.look().loop_lag == 0.25
    assert len(beats) == 2
    assert watch.look().rss > 1_000_000
    assert watch.look().fds > 2


def test_who_is_about_to_judge_hears_of_a_gap_before_the_next_tick_and_nobody_hears_of_it_twice() -> None:
    now = after(0.0)
    seen: list[Gap] = []
    watch = SelfWatch(seen.append, read=lambda: now)
    now = after(0.9)
    watch.notice()
    assert seen == []
    now = after(40.0, boot=140.0)
    watch.notice()
    assert [gap.cause for gap in seen] == ["suspended", "stopped"]
    watch.notice()
    now = after(40.1, boot=140.1)
    watch.tick()
    assert len(seen) == 2


STOPPED = """
import asyncio, sys
from mcpwatch.runtimes import self_watch
self_watch.EVERY = 0.05
def tell(gap):
    print(gap.cause, gap.seconds > 2, flush=True)
    sys.exit(0)
ticks = []
def tick():
    ticks.append(1)
    if len(ticks) == 2:
        print("ready", flush=True)
asyncio.run(self_watch.SelfWatch(tell, tick).run())
"""


@pytest.mark.slow
def test_a_watchdog_that_was_stopped_and_continued_notices(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.5)
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == "stopped True\n"
        finally:
            process.kill()


@pytest.mark.anyio
async def test_it_ticks_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_watch, "EVERY", 0.001)
    ticked = asyncio.Event()
    task = asyncio.get_running_loop().create_task(SelfWatch(on_tick=ticked.set).run())
    async with asyncio.timeout(10):
        await ticked.wait()
    task.cancel()


@pytest.mark.anyio
async def test_an_error_of_a_tick_ends_the_watch_so_that_it_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_watch, "EVERY", 0.001)
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 2:
            raise RuntimeError("a broken figure")

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="a broken figure"):
            await SelfWatch(on_tick=tick).run()
    assert len(ticks) == 2


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_what_is_said_to_it(*, abstract: bool) -> None:
    directory = tempfile.mkdtemp(prefix="mw-")
    address = f"@mcpwatch-test-{os.getpid()}" if abstract else f"{directory}/notify"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(10)
            manager.bind("\0" + address[1:] if abstract else address)
            assert notify("READY=1", {"NOTIFY_SOCKET": address})
            assert manager.recv(100) == b"READY=1"
    finally:
        shutil.rmtree(directory)


def test_without_systemd_nothing_is_said_and_nothing_fails() -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1234"})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "/no/such/socket"})


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_heartbeat_is_twice_as_often_as_systemd_asks_and_only_for_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert heartbeat(environment) == seconds


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    unit = (ROOT / "deploy/systemd/mcpwatch.service").read_text()
    for line in ("Type=notify", "WatchdogSec=30", "KillMode=process"):
        assert line in unit.splitlines()
    (tmp_path / "mcpwatch.service").write_text(unit.replace("/usr/local/bin/mcpwatch", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "mcpwatch.service")],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("wall", [0.0, 0.001, 0.999, 1.001, 1.5, 1.9999, 1_800_000_000.3])
def test_a_tick_falls_on_the_next_even_second_that_is_not_too_near(wall: float) -> None:
    """So do the slots of checks: one wake of the process is for both."""
    pause = self_watch.until_tick(wall)
    assert self_watch.EVERY / 2 < pause <= self_watch.EVERY * 1.5
    assert round((wall + pause) % self_watch.EVERY, 6) in (0.0, self_watch.EVERY)
