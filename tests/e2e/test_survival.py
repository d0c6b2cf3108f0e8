"""What the world does to a watchdog: its clock is set, members shout, the disk fills up, it is frozen, its store breaks."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mcpwatch import journal
from tests.e2e.daemon import Daemon, running
from tests.e2e.load import Load
from tests.e2e.test_main_job import NOW, bridged, fleet, hosted, route
from tests.e2e.test_supervision import all_run, lives, plain
from tests.parts import faked_clock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WAIT = 120.0


def patient(**members: dict[str, Any]) -> dict[str, Any]:
    """A fleet checked often, whose probes have time: a busy machine is not what these tests are about."""
    config = fleet(**members)
    config["defaults"]["check"] |= {"timeout": "15s", "failure_threshold": 3}
    return config


def successes(status: dict[str, Any], name: str) -> int:
    """How many probes of a route, or else of a member, succeeded in a row; 0 after a failure."""
    shown = [one for one in (*status["routes"], *status["members"]) if one["name"] == name]
    return min((probe["successes"] for one in shown[:1] for probe in one["probes"]), default=0)


def probed_on(daemon: Daemon, *names: str, more: int = 3) -> None:
    """Wait until each was probed so many times more, with success, from now on."""
    status = daemon.status()
    goals = {name: successes(status, name) + more for name in names}
    daemon.wait(lambda s: all(successes(s, name) >= goal for name, goal in goals.items()), f"probes go on: {goals}", WAIT)


def condemned(daemon: Daemon) -> list[str]:
    """Every false verdict and every repair that was told."""
    facts = daemon.events()
    bad = [f for f in facts if f["fact"] in ("member_changed", "route_changed") and f["new"] in ("unhealthy", "backoff", "failed")]
    return [str(f["text"]) for f in bad + [f for f in facts if f["fact"] == "repair_tried"]]


def set_clock(file: Path, seconds: int) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{seconds:+d}\n", encoding="ascii")
    fresh.replace(file)


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("step", [-3600, 3600], ids=["back", "on"])
def test_a_clock_that_is_set_stops_no_check_judges_nobody_and_moves_no_budget(tmp_path: Path, step: int) -> None:
    config = patient(time=hosted(), bridge=bridged())
    restart = {"intensity": 1, "period": "10m", "backoff": {"first": "10ms", "max": "50ms"}, "retry": "10m"}
    config["members"]["frail"] = {"route": False, "process": {"command": "sleep", "args": ["600"]}, "restart": restart}
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    daemon = Daemon(tmp_path, config)
    mine = daemon.env
    daemon.env = mine | faked_clock(clock)
    try:
        daemon.start()
        daemon.env = mine
        daemon.healthy(WAIT)
        os.kill(daemon.member("frail")["pid"], signal.SIGKILL)
        daemon.wait(lambda _: daemon.member("frail")["generation"] == 2, "it is started again", WAIT)
        daemon.healthy(WAIT)
        probed_on(daemon, "time", "bridge", more=1)
        before = lives(daemon)
        set_clock(clock, step)
        daemon.wait(lambda _: "the wall clock was set" in daemon.said(), "the step is told", WAIT)
        assert abs(float(gaps(daemon, "clock_step")[0]["seconds"]) - step) < 60.0
        daemon.wait(
            lambda s: max(ages(s)) < 600.0 and min(ages(s)) > -60.0, "nothing is shown as older or younger than it is", WAIT
        )
        probed_on(daemon, "time", "bridge", more=5)
        assert lives(daemon) == before
        assert [text for text in condemned(daemon) if not text.startswith("frail")] == []
        os.kill(daemon.member("frail")["pid"], signal.SIGKILL)
        daemon.wait(lambda _: daemon.member("frail")["phase"] == "failed", "both ends count in one period", WAIT)
        assert daemon.member("frail")["generation"] == 2
    finally:
        daemon.close()


def ages(status: dict[str, Any]) -> list[float]:
    """Seconds for which all that is shown with its age is said to be so."""
    moments = [status["daemon"]["started_at"], *(member[key] for member in status["members"] for key in ("since", "started_at"))]
    moments += [route[key] for route in status["routes"] for key in ("verdict_since", "last_success")]
    return [status["at"] - moment for moment in moments if moment is not None]


def gaps(daemon: Daemon, cause: str) -> list[dict[str, Any]]:
    return [fact for fact in daemon.events() if fact["fact"] == "watch_gap" and fact["cause"] == cause]


SHOUT = """
import os, sys, time
line = b"x" * 90
begun = time.monotonic()
for second in range(6):  # a megabyte a second
    os.write(1, b"".join(b"%07d %b\\n" % (n, line) for n in range(second * 10000, second * 10000 + 10000)))
    time.sleep(max(0.0, begun + second + 1 - time.monotonic()))
time.sleep(600)
"""
ONE_LINE = """
import os, sys, time
sys.stdout.buffer.write(b"y" * 10_000_000 + b"\\nthe end\\n")
sys.stdout.buffer.flush()
time.sleep(600)
"""


def test_a_member_that_writes_a_megabyte_a_second_and_one_that_writes_a_line_of_ten_harm_nobody(tmp_path: Path) -> None:
    config = patient(time=hosted(), bridge=bridged())
    for name, code in (("shout", SHOUT), ("long", ONE_LINE)):
        config["members"][name] = {"route": False, "process": {"command": sys.executable, "args": ["-c", code]}}
    with running(tmp_path, config) as daemon:
        daemon.healthy(WAIT)
        with Load(route(config, "time"), *NOW) as load:
            probed_on(daemon, "time", "bridge")
            daemon.wait(lambda _: last(daemon, "shout").startswith("0059999 "), "all of the shouting is logged", WAIT)
            daemon.wait(lambda _: last(daemon, "long") == "the end", "the long line is logged", WAIT)
            load.progress()
        numbers = [int(line.text.split()[0]) for line in journal.read(daemon.state, "shout", ("stdout",), None)]
        assert numbers == list(range(60_000))
        *parts, end = [line.text for line in journal.read(daemon.state, "long", ("stdout",), None)]
        assert end == "the end"
        assert "".join(part.removesuffix(journal.CONTINUES) for part in parts) == "y" * 10_000_000
        assert load.failures == []
        assert condemned(daemon) == []
        assert {generation for _, generation in lives(daemon).values()} == {1}


def last(daemon: Daemon, member: str) -> str:
    """The latest line of a member in its log."""
    return next((line.text for line in journal.read(daemon.state, member, ("stdout",), 1)), "")


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Generator[Path]:
    """A disk of its own at `place`, gone afterwards."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(file: Path) -> None:
    """Write until not a byte more fits."""
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while out.write(b"\0" * size):
                    pass


WRITE = "import time\nfor n in range(10**9):\n print(n, flush=True)\n time.sleep(0.1)"


@pytest.mark.needs("mount")
def test_a_full_disk_stops_logging_and_not_the_fleet_and_is_told_until_there_is_room_again(tmp_path: Path) -> None:
    config = patient(time=hosted(), bridge=bridged())
    config["members"]["writer"] = {"route": False, "process": {"command": sys.executable, "args": ["-c", WRITE]}}
    with small_disk(tmp_path / "state", 64), running(tmp_path, config) as daemon:
        daemon.healthy(WAIT)
        before = lives(daemon)
        filler = daemon.state / "filler"
        with Load(route(config, "time"), *NOW) as load:
            load.progress()
            fill(filler)
            daemon.wait(lambda _: "logging stopped" in daemon.said(), "it is told that logging stopped", WAIT)
            load.progress()
            probed_on(daemon, "time", "bridge")
            os.kill(daemon.member("bridge")["pid"], signal.SIGKILL)
            daemon.wait(lambda _: daemon.member("bridge")["generation"] == 2, "a member that dies is started all the same", WAIT)
            daemon.healthy(WAIT)
            filler.unlink()
            daemon.wait(lambda _: "is logged again" in daemon.said(), "it is told that logging goes on", WAIT)
            logged = last(daemon, "writer")
            daemon.wait(lambda _: last(daemon, "writer") != logged, "logging goes on", WAIT)
            probed_on(daemon, "time", "bridge")
            load.progress()
        after = lives(daemon)
        assert {name: after[name] for name in after if name != "bridge"} == {n: before[n] for n in before if n != "bridge"}
        assert load.failures == []
        assert any("were not logged" in line.text for line in journal.read(daemon.state, "writer", ("stdout",), None))


def spoil(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}*"):
        part.write_bytes(b"this is no database" * 100)


def age(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(("harm", "words"), [(spoil, "unreadable"), (age, "written by a newer mcpwatch (version 99)")])
def test_a_store_that_cannot_be_used_is_set_aside_and_the_fleet_is_taken_over_as_it_runs(
    tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    with running(tmp_path, plain(3)) as daemon:
        all_run(daemon, 1)
        before = lives(daemon)
        daemon.stop(signal.SIGKILL)
        harm(daemon.state / "state.db")
        daemon.start()
        all_run(daemon, 1)
        assert lives(daemon) == before
        told = [str(f["text"]) for f in daemon.events() if f["fact"] == "troubled" and f["subject"] == "store"]
        assert len(told) == 1
        assert words in told[0]
        assert "set aside as state.db.aside-" in told[0]
        assert len(list(daemon.state.glob("state.db.aside-*"))) == 1


def test_a_fleet_whose_records_are_gone_is_taken_over_by_its_marks_without_one_failed_call(tmp_path: Path) -> None:
    config = patient(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy(WAIT)
        for name in ("time", "bridge"):
            assert daemon.run("restart", name).returncode == 0
        daemon.healthy(WAIT)
        before = {name: pid for name, (pid, _) in lives(daemon).items()}
        with Load(route(config, "time"), *NOW) as load, Load(route(config, "bridge"), *NOW) as other:
            load.progress()
            daemon.stop(signal.SIGKILL)
            shutil.rmtree(daemon.state / "run")
            daemon.start()
            daemon.healthy(WAIT)
            probed_on(daemon, "time", "bridge")
            load.progress()
            other.progress()
        assert {name: pid for name, (pid, _) in lives(daemon).items()} == before
        assert load.failures == other.failures == []
        os.kill(before["time"], signal.SIGKILL)
        daemon.wait(lambda _: daemon.member("time")["pid"] not in (None, before["time"]), "its end is noticed", WAIT)
        daemon.healthy(WAIT)


class Slow(http.server.BaseHTTPRequestHandler):
    """An MCP server that answers at once, or, once `hold` is set, never in time: `held` tells that a probe came in."""

    hold, held, free = threading.Event(), threading.Event(), threading.Event()
    server_info: ClassVar[dict[str, Any]] = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "slow", "version": "1"},
    }

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.hold.is_set():
            self.held.set()
            self.free.wait(WAIT)
        known = {"initialize": self.server_info, "tools/list": {"tools": [{"name": "one", "inputSchema": {"type": "object"}}]}}
        answer = {"jsonrpc": "2.0", "id": asked.get("id"), "result": known.get(asked["method"], {})}
        body = json.dumps(answer).encode() if "id" in asked else b""
        self.send_response(200 if body else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever asked may have given up
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_error(405)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextlib.contextmanager
def slow_server() -> Generator[int]:
    for event in (Slow.hold, Slow.held, Slow.free):
        event.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            Slow.free.set()
            server.shutdown()
            thread.join(WAIT)


def test_a_probe_that_was_under_way_when_the_watchdog_was_frozen_says_nothing_of_the_member(tmp_path: Path) -> None:
    with slow_server() as port:
        check = {"interval": "1s", "timeout": "20s", "failure_threshold": 1}
        slow = {"url": f"http://127.0.0.1:{port}/mcp", "route": False, "checks": {"mcp": check}}
        config = {"version": 1, "proxy": {"kind": "none"}, "members": {"slow": slow}}
        with running(tmp_path, config) as daemon:
            daemon.healthy(WAIT)
            assert daemon.process
            Slow.hold.set()
            assert Slow.held.wait(WAIT), "no probe came"
            daemon.process.send_signal(signal.SIGSTOP)
            Slow.hold.clear()
            thawed = time.monotonic() + 30.0
            while time.monotonic() < thawed:
                Slow.free.wait(0.1)
            daemon.process.send_signal(signal.SIGCONT)
            daemon.wait(lambda _: "the watchdog did not run" in daemon.said(), "the gap is told", WAIT)
            probed_on(daemon, "slow")
            assert max(float(gap["seconds"]) for gap in gaps(daemon, "stopped")) > 4.0
            assert condemned(daemon) == []
            facts = [fact for fact in daemon.events() if fact["fact"] == "probe_finished" and fact["member"] == "slow"]
            assert [fact["outcome"] for fact in facts] == ["unknown"]
