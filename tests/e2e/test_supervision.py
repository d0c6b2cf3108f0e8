"""Supervision that survives anything, on a real daemon: storms, gaps, upgrades, broken stores, and what systemd is told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.runtimes.lock import Lock
from mcpwatch.runtimes.start_rate import BURST, RATE
from tests.e2e.daemon import Daemon, running
from tests.e2e.load import Load
from tests.e2e.test_main_job import NOW, bridged, causes, fleet, hosted, route

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def plain(count: int = 1, *argv: str, **more: Any) -> dict[str, Any]:
    """A fleet of processes without any MCP."""
    command, *args = argv or ("sleep", "600")
    members = {f"m{i}": {"route": False, "process": {"command": command, "args": args}, **more} for i in range(count)}
    return {"version": 1, "proxy": {"kind": "none"}, "members": members}


def lives(daemon: Daemon) -> dict[str, tuple[int, int]]:
    return {m["name"]: (m["pid"], m["generation"]) for m in daemon.status()["members"]}


def all_run(daemon: Daemon, generation: int) -> None:
    daemon.wait(
        lambda s: s["members"] and all(m["phase"] == "running" and m["generation"] >= generation for m in s["members"]),
        f"all run in generation {generation}",
        timeout=60.0,
    )


def test_a_hundred_members_that_die_at_once_come_back_one_after_the_other(tmp_path: Path) -> None:
    with running(tmp_path, plain(100)) as daemon:
        all_run(daemon, 1)
        for pid, _ in lives(daemon).values():
            os.kill(pid, signal.SIGKILL)
        all_run(daemon, 2)
        assert {generation for _, generation in lives(daemon).values()} == {2}
        assert len(daemon.marked()) == 100
        starts = sorted(float(f["at"]) for f in daemon.events() if f["fact"] == "member_started" and f["generation"] == 2)
        assert len(starts) == 100
        assert starts[-1] - starts[0] >= (100 - BURST) / RATE * 0.8
        assert daemon.stop() == 0
        assert daemon.marked() == []


def test_a_member_that_forks_and_dies_is_parked_and_leaves_nobody(tmp_path: Path) -> None:
    code = "import os, time\nfor i in range(30):\n if not os.fork():\n  os.setsid(); time.sleep(600)\nos._exit(1)"
    restart = {"intensity": 3, "period": "1m", "backoff": {"first": "10ms", "max": "50ms"}, "retry": "10m"}
    with running(tmp_path, plain(1, sys.executable, "-c", code, restart=restart)) as daemon:
        daemon.wait(lambda s: s["members"][0]["phase"] == "failed", "it is parked")
        assert daemon.member("m0")["generation"] == 4
        daemon.wait(lambda _: not daemon.marked(), "nobody of it is alive")


def test_a_watchdog_that_was_frozen_tells_a_gap_and_judges_nobody_by_it(tmp_path: Path) -> None:
    config = fleet(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        before = lives(daemon)
        assert daemon.process
        daemon.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 6.0
        with Load(route(config, "time"), *NOW) as load:
            while time.monotonic() < deadline:
                load.progress(1)
        daemon.process.send_signal(signal.SIGCONT)
        daemon.wait(lambda _: any(f["fact"] == "watch_gap" for f in daemon.events()), "the gap is told")
        daemon.healthy()
        gaps = [f for f in daemon.events() if f["fact"] == "watch_gap"]
        assert {gap["cause"] for gap in gaps} == {"stopped"}
        assert max(float(gap["seconds"]) for gap in gaps) > 4.0
        assert lives(daemon) == before
        assert load.failures == []


def test_an_upgrade_in_place_keeps_every_process_and_every_call(tmp_path: Path) -> None:
    config = fleet(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        before, status = lives(daemon), daemon.status()["daemon"]
        with Load(route(config, "time"), *NOW) as load:
            load.progress()
            assert daemon.run("upgrade-in-place").returncode == 0
            daemon.wait(lambda s: s["daemon"]["pid"] and s["daemon"]["started_at"] > status["started_at"], "it came back")
            daemon.healthy()
            load.progress()
        assert daemon.status()["daemon"]["pid"] == status["pid"]
        assert lives(daemon) == before
        assert load.failures == []
        os.kill(before["bridge"][0], signal.SIGKILL)
        daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "bridge")["generation"] == 2, "its end is noticed")
        daemon.healthy()


def test_a_fleet_whose_every_member_was_removed_while_nobody_watched_is_ended(tmp_path: Path) -> None:
    with running(tmp_path, plain(2)) as daemon:
        all_run(daemon, 1)
        daemon.stop(signal.SIGKILL)
        daemon.write({"version": 1, "proxy": {"kind": "none"}, "members": {"other": {"url": "http://127.0.0.1:9/sse"}}})
        daemon.start()
        daemon.wait(lambda _: not daemon.marked(), "nobody of the old fleet is alive")


def test_systemd_hears_ready_and_a_heartbeat_that_stops_when_the_watchdog_hangs(tmp_path: Path) -> None:
    directory = tempfile.mkdtemp(prefix="mw-")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{directory}/notify")
            manager.settimeout(20)
            daemon = Daemon(tmp_path, plain(1))
            daemon.env |= {"NOTIFY_SOCKET": f"{directory}/notify", "WATCHDOG_USEC": "2000000"}
            try:
                daemon.start()
                assert manager.recv(4096).startswith(b"READY=1")
                assert manager.recv(4096) == b"WATCHDOG=1"
                assert daemon.process
                daemon.process.send_signal(signal.SIGSTOP)
                manager.settimeout(3.0)
                with pytest.raises(TimeoutError):
                    b"".join(iter(lambda: manager.recv(4096), b""))
                daemon.process.send_signal(signal.SIGCONT)
                manager.settimeout(20)
                assert manager.recv(4096) == b"WATCHDOG=1"
                daemon.process.terminate()
                while manager.recv(4096) != b"STOPPING=1":
                    pass
                assert daemon.process.wait(30) == 0
            finally:
                daemon.close()
    finally:
        shutil.rmtree(directory)


def test_a_member_is_started_and_stopped_by_enabling_it_but_not_by_changing_what_an_operator_stopped(tmp_path: Path) -> None:
    config = plain(2)
    with running(tmp_path, config, "--no-watch-config") as daemon:
        all_run(daemon, 1)

        def load(name: str, **more: Any) -> None:
            config["members"][name] |= more
            daemon.write(config)
            assert daemon.run("reload").returncode == 0

        load("m0", enabled=False)
        daemon.wait(lambda _: daemon.member("m0")["phase"] == "stopped", "disabled, it stops")
        assert daemon.run("stop", "m1").returncode == 0
        daemon.wait(lambda _: daemon.member("m1")["phase"] == "stopped", "it stops")
        load("m1", process={"command": "sleep", "args": ["601"]})
        load("m0", enabled=True)
        daemon.wait(lambda _: daemon.member("m0")["phase"] == "running", "enabled, it runs")
        assert daemon.member("m1")["phase"] == "stopped"
        assert daemon.run("start", "m1").returncode == 0
        daemon.wait(lambda _: daemon.member("m1")["phase"] == "running", "it runs")


def resumed(daemon: Daemon) -> set[str]:
    """Members that a repair proved to run again after they were stopped."""
    facts = daemon.events()
    return {f["member"] for f in facts if f["fact"] == "repair_proved" and f["rung"] == "resume" and f["outcome"] == "proved"}


def test_hosted_servers_that_are_stopped_are_blamed_themselves_and_not_the_gateway_they_are_in(tmp_path: Path) -> None:
    config = fleet(time=hosted(), other=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy(120.0)
        before = lives(daemon)
        for name in ("time", "other"):
            os.kill(before[name][0], signal.SIGSTOP)
        daemon.wait(lambda _: resumed(daemon) == {"time", "other"}, "both run again", 120.0)
        daemon.healthy(120.0)
        assert lives(daemon) == before, "let run again, not restarted"
        facts = daemon.events()
        named = {(f["member"], f["cause"]) for f in facts if f["fact"] == "diagnosed" and not f["cleared"]}
        assert {("time", "member_hung"), ("other", "member_hung")} <= named
        assert any("its processes are stopped (state T)" in str(f["text"]) for f in facts)
        assert not any(f["fact"] == "repair_tried" and f["member"] == "proxy" for f in facts)


def test_what_somebody_removed_of_the_state_directory_is_put_back_and_a_second_watchdog_is_still_refused(tmp_path: Path) -> None:
    with running(tmp_path, plain(2), "--no-watch-config") as daemon:
        all_run(daemon, 1)
        before = lives(daemon)
        aside = daemon.state.rename(tmp_path / "removed")  # at once: what is removed piece by piece is written meanwhile
        shutil.rmtree(aside, ignore_errors=True)
        daemon.wait(lambda s: s["daemon"]["pid"], "it answers again")
        assert "somebody removed the lock and the control socket; put back" in daemon.said()
        assert lives(daemon) == before
        second = daemon.run("up", "--plain", "-c", str(daemon.config))
        assert second.returncode == 1
        assert daemon.process
        assert f"pid {daemon.process.pid}" in second.stderr
        daemon.stop(signal.SIGKILL)
        daemon.start("--no-watch-config")
        all_run(daemon, 1)
        assert lives(daemon) == before, "taken over by their marks alone"
        (daemon.state / "lock").unlink()
        with Lock(daemon.state / "lock"):
            daemon.wait(lambda s: not s["daemon"]["pid"], "the first goes")
            assert daemon.process.wait(30) == 0
        assert "this one lost it" in daemon.said()
        assert sorted(daemon.marked()) == sorted(pid for pid, _ in before.values())


def test_a_second_signal_ends_what_is_stopped_now_and_what_would_have_been_stopped_after_it(tmp_path: Path) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    config = plain(3, sys.executable, "-c", code, stop_grace="10m")
    config["members"]["m2"]["depends_on"] = ["m1"]
    config["members"]["m1"]["depends_on"] = ["m0"]
    with running(tmp_path, config) as daemon:
        all_run(daemon, 1)
        daemon.wait(lambda _: all((daemon.state / f"logs/m{i}/stdout.raw").stat().st_size for i in range(3)), "all are deaf")
        assert daemon.process
        daemon.process.send_signal(signal.SIGINT)
        daemon.wait(lambda _: daemon.member("m2")["phase"] == "stopping", "the first is asked to stop")
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(60) == 0
        assert daemon.marked() == []


def test_a_gateway_that_was_stopped_runs_on_and_its_hosted_servers_are_not_blamed(tmp_path: Path) -> None:
    config = fleet(time=hosted(), other=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy(120.0)
        before = lives(daemon)
        os.kill(before["proxy"][0], signal.SIGSTOP)
        daemon.wait(lambda _: resumed(daemon) == {"proxy"}, "it runs again", 120.0)
        daemon.healthy(120.0)
        assert lives(daemon) == before
        named = causes(daemon)
        assert ("proxy", "proxy_hung") in named
        assert {cause for member, cause in named if member != "proxy"} <= {"planned_restart"}
        assert {f["member"] for f in daemon.events() if f["fact"] == "repair_tried"} == {"proxy"}


def test_a_hosted_server_that_a_reload_replaces_is_planned_and_its_death_after_that_is_not(tmp_path: Path) -> None:
    config = fleet(time=hosted())
    with running(tmp_path, config, "--no-watch-config") as daemon:
        daemon.healthy(120.0)
        config["members"]["time"]["stdio"]["env"] = {"CHANGED": "1"}
        daemon.write(config)
        assert daemon.run("reload").returncode == 0
        daemon.wait(lambda _: daemon.member("time")["generation"] == 2, "it is replaced", 60.0)
        daemon.healthy(120.0)
        assert causes(daemon) == {("time", "planned_restart")}
        os.kill(daemon.member("time")["pid"], signal.SIGKILL)
        daemon.wait(lambda _: daemon.member("time")["generation"] == 3, "it is started again", 60.0)
        daemon.healthy(120.0)
        assert ("time", "member_down") in causes(daemon)
        assert [f["text"] for f in daemon.events() if f["fact"] == "member_exited"] == ["time: killed by SIGKILL"]


def test_a_secret_stands_in_no_file_of_the_state_but_the_gateways_own_which_nobody_else_may_read(tmp_path: Path) -> None:
    config = fleet(time=hosted(), bridge=bridged(), far={"url": "http://127.0.0.1:9/sse"})
    for name in ("time", "bridge"):
        config["members"][name]["stdio"]["env"] = {"API_KEY": "${A_SECRET}"}
    config["members"]["far"]["headers"] = {"authorization": "Bearer ${A_SECRET}"}
    config["proxy"]["auth"] = {"tokens": ["${A_SECRET}-of-the-proxy"]}
    daemon = Daemon(tmp_path, config)
    daemon.env["A_SECRET"] = "never-to-be-seen"
    try:
        daemon.start()
        daemon.wait(lambda _: all(daemon.member(name)["phase"] == "running" for name in ("time", "bridge")), "both run", 120.0)
        assert daemon.run("restart", "time").returncode == 0
        daemon.wait(lambda _: daemon.member("time")["generation"] == 2, "a second generation", 60.0)
        daemon.wait(lambda _: daemon.member("time")["phase"] == "running", "it runs", 60.0)
        files = [path for path in daemon.state.rglob("*") if path.is_file()]
        holding = {path.relative_to(daemon.state).as_posix() for path in files if b"never-to-be-seen" in path.read_bytes()}
        assert holding == {"proxy/gateway.json"}
        kept = (daemon.state / "proxy" / "gateway.json").read_text()
        assert "of-the-proxy" not in kept, "of tokens it needs the digests alone"
        assert (daemon.state / "proxy" / "gateway.json").stat().st_mode & 0o777 == 0o600
        assert daemon.state.stat().st_mode & 0o777 == 0o700
        assert "never-to-be-seen" not in daemon.said()
    finally:
        daemon.close()


def test_hosted_servers_whose_admin_socket_was_removed_are_seen_by_the_next_watchdog_as_they_are(tmp_path: Path) -> None:
    config = fleet(time=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy(60.0)
        before = lives(daemon)["time"][0]
        socket_file = daemon.state / "proxy" / "admin.sock"
        socket_file.unlink()
        daemon.stop(signal.SIGKILL)
        daemon.start()
        daemon.healthy(60.0)
        assert socket_file.is_socket()
        assert daemon.member("time")["phase"] == "running"
        assert lives(daemon)["time"][0] == before
