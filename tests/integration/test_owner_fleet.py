"""The owner's fleet on the real TBXark v0.43.2: what dies behind a bridge is named and healed there, and the others serve on.

This TBXark keeps a session to an upstream for ever, so in front it must be started again once for each bridge that was: that is the
only moment in which other routes are cut. Behind our own gateway they are never cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.e2e.load import Load
from tests.integration.owner_fleet import (
    CLOCK,
    docker_bridge,
    owner_fleet,
    process_bridge,
    route_url,
    tbxark_docker,
    tbxark_process,
)
from tests.integration.reference_fleet import Names, fleet, proven

pytestmark = [pytest.mark.needs("tbxark"), pytest.mark.slow]

COLD = {"cold50": 50.0, "cold130": 130.0}
LATE = 300.0
"""Seconds until a fleet with a child that needs 130 s is proven, on a busy machine."""


def drill(daemon: Daemon, member: str, fault: str, timeout: float = 150.0) -> dict[str, Any]:
    """Run a drill that must end well; what it told."""
    done = daemon.run("drill", member, "--fault", fault, "--timeout", f"{timeout:g}", "--json", timeout=timeout + 50.0)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(told, indent=1)
    return told


def generations(daemon: Daemon) -> dict[str, int]:
    return {member["name"]: member["generation"] for member in daemon.status()["members"]}


def named(daemon: Daemon, member: str) -> set[str]:
    return {fact["cause"] for fact in daemon.events() if fact["fact"] == "diagnosed" and fact["member"] == member}


@contextlib.contextmanager
def clients(config: dict[str, Any], *names: str) -> Generator[list[Load]]:
    """A client on each of these routes that keeps calling."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(route_url(config, name), *CLOCK[1:])) for name in names]
        for load in loads:
            load.progress(1)
        yield loads
        for load in loads:
            load.progress(1)


@pytest.mark.timeout(400)
def test_behind_the_gateway_a_dead_child_is_healed_and_no_call_of_another_route_fails(tmp_path: Path) -> None:
    config = owner_fleet({"kind": "gateway"}, {name: process_bridge(tmp_path / "bridges", name) for name in ("a", "b", "c")})
    with running(tmp_path, config) as daemon:
        proven(daemon)
        with clients(config, "b", "c") as loads:
            told = drill(daemon, "a", "child")
            proven(daemon)
        assert told["causes"][0] == "child_died"
        assert generations(daemon) == {"a": 2, "b": 1, "c": 1, "proxy": 1}
        assert [load.failures for load in loads] == [[], []]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    """TBXark in front of two TBXark bridges, as processes."""
    directory = tmp_path_factory.mktemp("owner")
    members = {name: process_bridge(directory / "bridges", name) for name in ("a", "b")}
    with running(directory, owner_fleet(tbxark_process(), members)) as daemon:
        proven(daemon)
        yield daemon


@pytest.mark.timeout(400)
def test_a_dead_child_is_named_and_its_bridge_and_then_the_proxy_are_started_again_once(processes: Daemon) -> None:
    proven(processes)
    before = generations(processes)
    told = drill(processes, "a", "child")
    proven(processes)
    assert told["causes"][0] == "child_died"
    assert told["repairs"] == ["restart of a", "restart_proxy of proxy"]
    assert generations(processes) == {"a": before["a"] + 1, "b": before["b"], "proxy": before["proxy"] + 1}


@pytest.mark.timeout(400)
def test_a_stopped_process_is_let_run_again_and_nothing_is_restarted(processes: Daemon) -> None:
    proven(processes)
    before = generations(processes)
    told = drill(processes, "a", "pause")
    assert told["causes"] == ["member_hung"]
    assert told["repairs"] == ["resume of a"]
    assert generations(processes) == before


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["recover", "slow", "flap"])
def test_nothing_is_restarted_for_a_fault_that_ends_by_itself(processes: Daemon, fault: str) -> None:
    proven(processes)
    before = generations(processes)
    told = drill(processes, "b", fault)
    assert told["harmed"] == []
    assert generations(processes) == before


@contextlib.contextmanager
def cold_processes(directory: Path) -> Generator[tuple[Daemon, dict[str, Any]]]:
    """A fleet with children that start cold once they died, as processes."""
    directory.mkdir()
    members = {name: process_bridge(directory / "bridges", name, COLD.get(name, 0.0)) for name in (*COLD, "warm")}
    config = owner_fleet(tbxark_process(), members)
    with running(directory, config) as daemon:
        proven(daemon)
        yield daemon, config


@contextlib.contextmanager
def cold_containers(directory: Path) -> Generator[tuple[Daemon, dict[str, Any]]]:
    """The same in containers."""
    directory.mkdir()
    names = Names()
    members = {name: docker_bridge(directory / "bridges", names, name, COLD.get(name, 0.0)) for name in (*COLD, "warm")}
    config = owner_fleet(tbxark_docker(names), members)
    with fleet(directory, config, names) as daemon:
        yield daemon, config


@pytest.mark.needs("docker", "root", "reference-fleet")
@pytest.mark.timeout(900)
def test_children_that_start_cold_are_waited_for_as_processes_and_in_containers(tmp_path: Path) -> None:
    with cold_processes(tmp_path / "processes") as one, cold_containers(tmp_path / "containers") as other:
        before = [generations(daemon) for daemon, _ in (one, other)]
        with clients(one[1], "warm"), clients(other[1], "warm"):
            for daemon, _ in (one, other):
                for name in COLD:
                    kill_child(daemon, name)
            for (daemon, _), was in zip((one, other), before, strict=True):
                daemon.wait(lambda status, was=was: all(generation(status, name) > was[name] for name in COLD), "both began", 120)
                daemon.wait(lambda status: starting(status) == set(COLD), "both are shown as starting", 120)
            for daemon, _ in (one, other):
                proven(daemon, LATE)
        for (daemon, _), was in zip((one, other), before, strict=True):
            now = generations(daemon)
            assert {name: now[name] - was[name] for name in (*COLD, "warm")} == {"cold50": 1, "cold130": 1, "warm": 0}
            assert now["proxy"] - was["proxy"] <= len(COLD), "once for each bridge that came back"
            for name in COLD:
                assert named(daemon, name) <= {"child_died", "member_down"}
                assert "child_died" in named(daemon, name)


def starting(status: dict[str, Any]) -> set[str]:
    """The members that are shown as still starting."""
    return {found["subject"] for found in status["diagnoses"] if found["cause"] == "starting"}


def generation(status: dict[str, Any], name: str) -> int:
    return next(int(member["generation"]) for member in status["members"] if member["name"] == name)


def kill_child(daemon: Daemon, name: str) -> None:
    from mcpwatch.cli.faults import inject

    inject("child", daemon.member(name), daemon.status())


@pytest.mark.needs("docker", "root", "reference-fleet")
@pytest.mark.timeout(400)
def test_a_paused_or_a_stopped_container_is_let_run_again_and_a_dead_child_in_one_is_healed(tmp_path: Path) -> None:
    names = Names()
    members = {name: docker_bridge(tmp_path / "bridges", names, name) for name in ("a", "b")}
    config = owner_fleet(tbxark_docker(names), members)
    with fleet(tmp_path, config, names) as daemon:
        before = generations(daemon)
        told = drill(daemon, "a", "pause")
        assert (told["causes"], told["repairs"]) == (["paused"], ["resume of a"])
        assert generations(daemon) == before
        told = drill(daemon, "a", "hang")
        assert (told["causes"][0], told["repairs"]) == ("member_hung", ["resume of a"])
        assert generations(daemon) == before
        told = drill(daemon, "a", "child")
        proven(daemon)
        assert told["causes"][0] == "child_died"
        assert generations(daemon) == {"a": before["a"] + 1, "b": before["b"], "proxy": before["proxy"] + 1}


@pytest.mark.needs("docker", "root", "reference-fleet")
@pytest.mark.timeout(400)
def test_a_container_that_left_its_network_is_named_and_put_on_it_again(tmp_path: Path) -> None:
    names = Names()
    members = {name: docker_bridge(tmp_path / "bridges", names, name) for name in ("a", "b")}
    with fleet(tmp_path, owner_fleet(tbxark_docker(names), members), names) as daemon:
        before = generations(daemon)
        subprocess.run(["docker", "network", "disconnect", names.network, names("a")], check=True, timeout=60)
        daemon.wait(lambda _: "network_disconnected" in named(daemon, "a"), "it is named", 60)
        daemon.wait(lambda _: "resume of a" in repairs(daemon), "it is put back", 60)
        proven(daemon, 150)
        now = generations(daemon)
        assert (now["a"], now["b"]) == (before["a"], before["b"])
        assert now["proxy"] - before["proxy"] <= 1, "for the session that it had by the old address"
        assert repairs(daemon)[0] == "resume of a"


def repairs(daemon: Daemon) -> list[str]:
    return [f"{fact['rung']} of {fact['member']}" for fact in daemon.events() if fact["fact"] == "repair_tried"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "theirs", ["http://nowhere.invalid:{}/a/sse", "http://127.0.0.1:{}/a/sse"], ids=["no such host", "refused"]
)
def test_the_real_proxy_is_not_restarted_for_a_url_of_its_own_that_leads_nowhere(tmp_path: Path, theirs: str) -> None:
    wrong = process_bridge(tmp_path / "bridges", "a", upstream_url=theirs.format(free_port()))
    members = {"a": wrong, "b": process_bridge(tmp_path / "bridges", "b")}
    with running(tmp_path, owner_fleet(tbxark_process(), members)) as daemon:
        daemon.wait(lambda _: "upstream_unreachable" in named(daemon, "proxy"), "it is named", 120)
        daemon.wait(lambda status: daemon.route("b")["verdict"] == "healthy", "the other serves", 60)
        looked = daemon.route("a")["probes"][0]["failures"]
        daemon.wait(lambda _: daemon.route("a")["probes"][0]["failures"] > looked + 10, "it is looked at again and again", 90)
        assert repairs(daemon) == []
        assert generations(daemon) == {"a": 1, "b": 1, "proxy": 1}


@pytest.mark.timeout(400)
def test_a_proxy_whose_file_somebody_changed_starts_on_what_the_configuration_says(tmp_path: Path) -> None:
    members = {name: process_bridge(tmp_path / "bridges", name) for name in ("a", "b")}
    with running(tmp_path, owner_fleet(tbxark_process(), members)) as daemon:
        proven(daemon)
        path = daemon.state / "proxy" / "config.json"
        rendered = path.read_text(encoding="utf-8")
        changed = json.loads(rendered)
        del changed["mcpServers"]["a"]
        path.write_text(json.dumps(changed), encoding="utf-8")
        os.kill(daemon.member("proxy")["usage"]["pid"], signal.SIGKILL)
        daemon.wait(lambda _: generations(daemon)["proxy"] == 2, "it is started again", 60)
        proven(daemon)
        assert path.read_text(encoding="utf-8") == rendered
        assert generations(daemon) == {"a": 1, "b": 1, "proxy": 2}
        assert repairs(daemon) == []
        told = [fact["text"] for fact in daemon.events() if fact["fact"] == "troubled" and fact["subject"] == "proxy file"]
        assert told == ["proxy: somebody had changed the file that it reads; it is as the configuration says again"]


@pytest.mark.timeout(400)
def test_a_bridge_that_serves_its_server_by_another_name_is_told_so_at_once_and_nothing_is_restarted(tmp_path: Path) -> None:
    members = {name: process_bridge(tmp_path / "bridges", name) for name in ("a", "b")}
    with running(tmp_path, owner_fleet(tbxark_process(), members)) as daemon:
        proven(daemon)
        path = tmp_path / "bridges" / "a.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written["mcpServers"]["clock"] = written["mcpServers"].pop("a")
        path.write_text(json.dumps(written), encoding="utf-8")
        os.kill(daemon.member("a")["usage"]["pid"], signal.SIGKILL)
        daemon.wait(lambda _: "config" in named(daemon, "a"), "what it serves is named", 120)
        (fact,) = [fact for fact in daemon.events() if fact["fact"] == "diagnosed" and fact["cause"] == "config"]
        assert "says that all it serves is 'clock'" in fact["text"]
        daemon.wait(lambda _: daemon.member("a")["probes"][0]["failures"] > 10, "it is looked at again and again", 90)
        assert generations(daemon)["a"] == 2, "the one that was killed, and no more"
        assert [text for text in repairs(daemon) if text.endswith(" of a")] == []
