"""The reference fleet from one YAML on a real engine and the real TBXark: every fault of `drill` is named and healed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, free_port
from tests.integration.drills import DRILLS, drilled
from tests.integration.reference_fleet import Names, fleet, proven, reference_fleet

pytestmark = [
    pytest.mark.needs("docker", "root", "reference-fleet"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def names() -> Names:
    return Names()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, names: Names) -> Generator[Daemon]:
    with fleet(tmp_path_factory.mktemp("reference-fleet"), reference_fleet(names, free_port()), names) as running:
        yield running


def test_the_whole_fleet_comes_up_from_one_file_and_every_route_is_proven(daemon: Daemon) -> None:
    status = daemon.status()
    assert {route["name"]: route["tools"] for route in status["routes"]} == {"clock": 2, "fetch": 1, "files": 14, "postgres": 2}
    why = daemon.run("why", "fetch")
    assert why.returncode == 0, why.stdout + why.stderr
    assert "through the proxy: mcp: ok, 1 tools, answered by the member itself" in why.stdout


def test_no_secret_is_in_an_argv_or_a_readable_file(daemon: Daemon, names: Names) -> None:
    raw = subprocess.run(["docker", "inspect", names("proxy")], capture_output=True, timeout=30, check=True).stdout.decode()
    assert "token-of-the-reference-fleet" not in raw
    rendered = daemon.state / "proxy" / "config.json"
    assert "token-of-the-reference-fleet" in rendered.read_text(encoding="utf-8")
    assert rendered.stat().st_mode & 0o077 == 0
    assert "token-of-the-reference-fleet" not in daemon.said()


@pytest.mark.parametrize(("member", "fault"), DRILLS)
def test_every_fault_of_every_kind_is_named_and_healed(daemon: Daemon, member: str, fault: str) -> None:
    drilled(daemon, member, fault)


def test_a_server_behind_a_pipe_cannot_be_cut_off_and_that_is_said(daemon: Daemon) -> None:
    done = daemon.run("drill", "clock", "--fault", "partition")
    assert done.returncode == 2
    assert "there is no network to cut; drill the proxy" in done.stderr


def test_killing_the_watchdog_kills_no_container_and_the_next_one_adopts_them_all(daemon: Daemon) -> None:
    before = {m["name"]: m["usage"]["container"] for m in proven(daemon, 90)["members"] if m["runtime"] == "docker"}
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(30)
    daemon.start()
    status = proven(daemon, 90)
    after = {m["name"]: m["usage"]["container"] for m in status["members"] if m["runtime"] == "docker"}
    assert after == before
    assert all(m["adopted"] for m in status["members"] if m["runtime"] == "docker")


def test_logs_of_a_container_are_the_members_logs(daemon: Daemon) -> None:
    done = daemon.run("logs", "proxy", "-n", "400")
    assert "Handling requests at /fetch/" in done.stdout


@pytest.fixture
def own(tmp_path: Path) -> Generator[Daemon]:
    names = Names()
    config = reference_fleet(names, free_port())
    for gone in ("files", "clock", "postgres"):
        del config["members"][gone]
    with fleet(tmp_path, config, names) as running:
        yield running


def test_a_stop_leaves_no_container(own: Daemon) -> None:
    containers = [m["usage"]["container"] for m in own.status()["members"]]
    assert own.stop() == 0
    alive = (
        subprocess.run(["docker", "ps", "-aq", "--no-trunc"], capture_output=True, timeout=30, check=True).stdout.decode().split()
    )
    assert not set(containers) & set(alive)
