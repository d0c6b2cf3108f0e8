"""The main job on real servers: a fleet brought up, proven, hurt under load, repaired, proven again, ended without a trace."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.e2e.load import Load
from tests.parts import ROOT

pytestmark = pytest.mark.timeout(180)
TINY = (sys.executable, str(ROOT / "tests" / "servers" / "tiny.py"))
NOW = ("get_current_time", {"timezone": "UTC"})


def fleet(**members: dict[str, Any]) -> dict[str, Any]:
    """A fleet behind a gateway on a free port, checked often."""
    return {
        "version": 1,
        "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{free_port()}"},
        "defaults": {"check": {"interval": "2s", "timeout": "3s", "failure_threshold": 2}},
        "members": members,
    }


def hosted(command: str = "mcp-server-time", *args: str) -> dict[str, Any]:
    return {"stdio": {"command": command, "args": list(args)}}


def bridged(command: str = "mcp-server-time") -> dict[str, Any]:
    return {"stdio": {"command": command}, "bridge": {"listen": f"127.0.0.1:{free_port()}"}}


def route(config: dict[str, Any], name: str) -> str:
    return f"http://{config['proxy']['listen']}/{name}/mcp"


def causes(daemon: Daemon) -> set[tuple[str, str]]:
    return {
        (str(fact["member"]), str(fact["cause"])) for fact in daemon.events() if fact["fact"] == "diagnosed" and not fact["cleared"]
    }


TOOLS = {"tiny": 14, "time": 2, "fetch": 1, "git": 12}
"""Servers, and how many tools each has; all but the first are real ones."""


@pytest.mark.parametrize(
    "names", [["tiny"], pytest.param([*TOOLS][1:], marks=pytest.mark.slow)], ids=["a small one", "three real ones"]
)
def test_servers_come_up_are_proven_and_leave_nothing_behind(tmp_path: Path, names: list[str]) -> None:
    config = fleet(**{name: hosted(*(TINY if name == "tiny" else (f"mcp-server-{name}",))) for name in names})
    with running(tmp_path, config) as daemon:
        status = daemon.healthy()
        assert {r["name"]: r["tools"] for r in status["routes"]} == {name: TOOLS[name] for name in names}
        assert all(m["pid"] and m["generation"] == 1 and m["phase"] == "running" for m in status["members"])
        shown = daemon.run("status")
        assert (shown.returncode, shown.stderr) == (0, "")
        checked = daemon.run("check", names[-1], "--route")
        assert checked.returncode == 0
        assert "tools_list" in checked.stdout
        assert daemon.stop(signal.SIGINT) == 0
        assert daemon.marked() == []
        assert daemon.run("status").returncode == 4


@pytest.mark.slow
def test_a_killed_hosted_server_is_restarted_and_told_while_its_clients_go_on(tmp_path: Path) -> None:
    config = fleet(time=hosted(), other=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        with Load(route(config, "time"), *NOW) as load, Load(route(config, "other"), *NOW) as bystander:
            load.progress()
            os.kill(daemon.member("time")["pid"], signal.SIGKILL)
            daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "time")["generation"] == 2, "a second generation")
            daemon.healthy()
            load.progress()
            bystander.progress()
        assert bystander.failures == []
        told = [str(fact["text"]) for fact in daemon.events()]
        assert any("time: killed by SIGKILL" in text for text in told)
        assert ("time", "member_down") in causes(daemon)


@pytest.mark.slow
def test_a_killed_bridge_is_restarted_and_its_route_proven_through_the_proxy(tmp_path: Path) -> None:
    config = fleet(time=bridged(), other=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        before = daemon.member("proxy")["pid"]
        with Load(route(config, "time"), *NOW) as load:
            load.progress()
            os.kill(daemon.member("time")["pid"], signal.SIGKILL)
            daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "time")["generation"] == 2, "a second generation")
            daemon.healthy()
            load.progress()
        assert daemon.member("proxy")["pid"] == before
        assert ("time", "member_down") in causes(daemon)


@pytest.mark.slow
def test_a_killed_gateway_is_restarted_and_all_routes_return(tmp_path: Path) -> None:
    config = fleet(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        bridge = daemon.member("bridge")["pid"]
        with Load(route(config, "time"), *NOW) as load:
            load.progress()
            os.kill(daemon.member("proxy")["pid"], signal.SIGKILL)
            daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "proxy")["generation"] == 2, "a second gateway")
            daemon.healthy()
            load.progress()
        assert daemon.member("bridge")["pid"] == bridge
        assert ("proxy", "proxy_down") in causes(daemon)
        assert ("bridge", "member_down") not in causes(daemon)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bridge", "hosted"])
def test_a_stopped_server_is_named_by_its_timeout_and_let_run_again(tmp_path: Path, kind: str) -> None:
    config = fleet(time=bridged() if kind == "bridge" else hosted(), other=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        os.kill(daemon.member("time")["pid"], signal.SIGSTOP)
        daemon.wait(lambda _: any(f["fact"] == "repair_proved" for f in daemon.events()), "a repair", 60.0)
        daemon.healthy()
        assert daemon.member("time")["generation"] == 1
        assert ("time", "member_hung") in causes(daemon)
        facts = daemon.events()
        vantage = "direct" if kind == "bridge" else "route"
        probes = [f for f in facts if f["fact"] == "probe_finished" and f["member"] == "time" and f["vantage"] == vantage]
        named = {"timeout"} if kind == "bridge" else {"timeout", "no_reply"}
        assert named & {probe["result"]["symptom"] for probe in probes}  # type: ignore[index]
        assert not any(f["fact"] == "repair_tried" and f["member"] == "proxy" for f in facts), "the gateway was restarted for it"
        proved = [f for f in facts if f["fact"] == "repair_proved" and f["member"] == "time"]
        assert [(f["rung"], f["outcome"]) for f in proved] == [("resume", "proved")]


@pytest.mark.slow
def test_a_server_that_dies_at_start_is_parked_while_the_rest_is_healthy(tmp_path: Path) -> None:
    broken: dict[str, Any] = {
        "process": {"command": "/bin/sh", "args": ["-c", "echo no database >&2; exit 3"]},
        "url": f"http://127.0.0.1:{free_port()}/sse",
    }
    config = fleet(time=hosted(), broken=broken, cursed=hosted("/bin/false"), behind=bridged("/bin/false"))
    with running(tmp_path, config) as daemon:
        parked: dict[str, dict[str, Any]] = {}

        def all_parked(status: dict[str, Any]) -> bool:
            parked.update({m["name"]: m for m in status["members"] if m["phase"] == "failed"})
            return set(parked) == {"broken", "cursed", "behind"}

        status = daemon.wait(all_parked, "three parked", 120.0)
        members = {m["name"]: m for m in status["members"]}
        assert members["time"]["verdict"] == "healthy"
        assert "exited with code 3: no database" in parked["broken"]["last_exit"]
        assert "behind: exited with code 1; giving up" in parked["behind"]["last_exit"]
        assert all(member["retry_at"] is not None for member in parked.values())
        assert daemon.run("status").returncode == 1


@pytest.mark.slow
def test_a_reload_adds_removes_and_changes_without_disturbing_a_session_on_another_route(tmp_path: Path) -> None:
    config = fleet(keep=hosted(), gone=hosted(), changed=hosted())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        kept = daemon.member("keep")["pid"]
        with Load(route(config, "keep"), *NOW) as load:
            load.progress()
            members = config["members"]
            del members["gone"]
            members["changed"] = hosted("mcp-server-time", "--local-timezone", "UTC")
            members["added"] = hosted("mcp-server-fetch")
            daemon.write(config)
            names = {"keep", "changed", "added", "proxy"}
            daemon.wait(lambda s: {m["name"] for m in s["members"]} == names and s["healthy"], "the new fleet is healthy")
            load.progress()
        assert load.failures == []
        assert daemon.member("keep")["pid"] == kept
        assert daemon.member("changed")["generation"] == 2
        assert daemon.route("added")["tools"] == 1


@pytest.mark.slow
def test_a_bad_reload_changes_nothing_and_says_why(tmp_path: Path) -> None:
    config = fleet(time=hosted())
    with running(tmp_path, config, "--no-watch-config") as daemon:
        daemon.healthy()
        before = daemon.member("time")["pid"]
        daemon.write({**config, "membrs": {}})
        refused = daemon.run("reload")
        assert refused.returncode == 3
        assert "membrs" in refused.stderr
        assert "did you mean 'members'" in refused.stderr
        status = daemon.status()
        assert status["daemon"]["config_error"]
        assert daemon.member("time")["pid"] == before
        daemon.write(config)
        assert daemon.run("reload").returncode == 0
        assert daemon.status()["daemon"]["config_error"] == ""


@pytest.mark.slow
def test_a_wrong_token_is_named_and_never_answered_with_a_restart(tmp_path: Path) -> None:
    config = fleet(time=hosted())
    config["proxy"]["auth"] = {"tokens": ["right-token"]}
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        url = route(config, "time")
        good = daemon.run("check", "--url", url, "--token", "right-token")
        assert good.returncode == 0, good.stdout
        bad = daemon.run("check", "--url", url, "--token", "wrong-token", "--json")
        assert bad.returncode == 1
        assert '"symptom": "auth"' in bad.stdout
        assert "right-token" not in bad.stdout + daemon.said() + daemon.run("status", "--json").stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_within_the_grace(tmp_path: Path, number: signal.Signals) -> None:
    config = fleet(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        assert daemon.stop(number) == 0
        assert daemon.marked() == []


@pytest.mark.slow
def test_a_stopped_member_stays_down_over_a_restart_of_the_watchdog(tmp_path: Path) -> None:
    config = fleet(time=hosted(), other=bridged())
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        assert daemon.run("stop", "other").returncode == 0
        daemon.stop()
        daemon.start()
        daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "time")["verdict"] == "healthy", "time is healthy")
        assert daemon.member("other")["phase"] == "stopped"
        assert daemon.run("start", "other").returncode == 0
        daemon.healthy()


@pytest.mark.slow
def test_a_killed_watchdog_is_followed_by_one_that_adopts_every_member(tmp_path: Path) -> None:
    config = fleet(time=hosted(), bridge=bridged())
    with running(tmp_path, config) as daemon:
        before = {m["name"]: (m["pid"], m["generation"]) for m in daemon.healthy()["members"]}
        with Load(route(config, "time"), *NOW) as load:
            load.progress()
            daemon.stop(signal.SIGKILL)
            load.progress()
            daemon.start()
            after = {m["name"]: (m["pid"], m["generation"]) for m in daemon.healthy()["members"]}
            load.progress()
        assert load.failures == []
        assert after == before
        second = daemon.run("up", "-c", str(daemon.config))
        assert second.returncode == 1
        assert f"pid {daemon.status()['daemon']['pid']}" in second.stderr


@pytest.mark.slow
def test_a_port_held_by_a_stranger_is_named_and_the_member_is_started_when_the_stranger_is_gone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        blocked: dict[str, object] = {"stdio": {"command": "mcp-server-time"}, "bridge": {"listen": f"127.0.0.1:{taken}"}}
        config = fleet(time=hosted(), blocked={**blocked, "restart": {"intensity": 1, "retry": "1h"}})
        with running(tmp_path, config) as daemon:
            daemon.wait(lambda s: any(d["cause"] == "port_taken" for d in s["diagnoses"]), "the stranger is named")
            assert f"pid {os.getpid()}" in daemon.member("blocked")["last_exit"]
            daemon.wait(lambda _: daemon.member("blocked")["phase"] == "failed", "no start is due for an hour")
            assert stranger.fileno() > 0
            stranger.close()
            daemon.healthy()


@pytest.mark.slow
def test_a_member_beyond_its_memory_is_restarted_as_planned(tmp_path: Path) -> None:
    config = fleet(time=bridged())
    config["members"]["time"]["restart"] = {"max_memory": "1m"}
    with running(tmp_path, config) as daemon:
        daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "time")["generation"] >= 2, "a planned restart", 60.0)
        told = [str(fact["text"]) for fact in daemon.events()]
        assert any("planned restart:" in text and "more than 1 MiB" in text for text in told)
