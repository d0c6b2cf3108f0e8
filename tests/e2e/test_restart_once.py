"""A restart of the gateway is a restart of what it hosts: whoever asks for both, each hosted server is started once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checks.test_stdio import SPEAK
from tests.e2e.daemon import Daemon, free_port, running

HOSTED = ("one", "two")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def server(directory: Path, name: str) -> dict[str, Any]:
    """A hosted server that writes a line where it starts."""
    note = f"open({str(directory / name)!r} + '.starts', 'a').write('started\\n')\n"
    return {"stdio": {"command": sys.executable, "args": ["-c", note + SPEAK]}}


def fleet(directory: Path, port: int) -> dict[str, Any]:
    """Two hosted servers and a bridge."""
    bridge = {**server(directory, "three"), "bridge": {"listen": f"127.0.0.1:{free_port()}"}}
    members = {"one": server(directory, "one"), "two": server(directory, "two"), "three": bridge}
    return {"version": 1, "proxy": {"listen": f"127.0.0.1:{port}"}, "members": members}


def starts(daemon: Daemon, *names: str) -> dict[str, int]:
    """How often each server has started, or each of these."""
    found = {file.stem: file.read_text().count("started") for file in daemon.directory.glob("*.starts")}
    return {name: found[name] for name in names or found}


def test_a_hosted_server_starts_once_when_it_is_restarted_together_with_its_gateway(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 1}
        done = daemon.run("restart", "--all", "--json", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {member["name"]: member["generation"] for member in json.loads(done.stdout)} == dict.fromkeys(
            ("one", "two", "three", "proxy"), 2
        )
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 2, "two": 2}
        assert daemon.run("restart", "one", "proxy", timeout=120).returncode == 0
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 3, "two": 3}


def test_a_hosted_server_that_was_stopped_starts_once_with_all_and_not_at_all_with_its_gateway(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        assert daemon.run("restart", "proxy", timeout=120).returncode == 0
        daemon.wait(lambda status: runs(status, "two", 2), "the other is back")
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 2}
        assert daemon.run("restart", "--all", timeout=120).returncode == 0
        assert [member["phase"] for member in daemon.healthy()["members"]] == ["running"] * 4
        assert starts(daemon, *HOSTED) == {"one": 2, "two": 3}
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        assert daemon.run("restart", "--all", "--no-wait", timeout=120).returncode == 0
        daemon.wait(lambda status: runs(status, "two", 4) and status["healthy"], "all is back")
        assert starts(daemon, *HOSTED) == {"one": 3, "two": 4}


def test_a_server_that_was_stopped_stays_down_when_its_configuration_or_its_gateways_changes(tmp_path: Path) -> None:
    config = fleet(tmp_path, free_port())
    with running(tmp_path, config, "--no-watch-config") as daemon:
        daemon.healthy()
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        changed(config, "one", "two")
        reloaded(daemon, config)
        daemon.wait(lambda status: starts(daemon, "two") == {"two": 2} and runs(status, "two"), "the changed one runs")
        changed(config, "one", "two", gateway=True)
        reloaded(daemon, config)
        daemon.wait(lambda status: starts(daemon, "two") == {"two": 3} and runs(status, "two"), "it runs behind another port")
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 3}
        assert daemon.member("one")["phase"] == "stopped"
        assert daemon.run("start", "one", timeout=120).returncode == 0
        assert starts(daemon, *HOSTED)["one"] == 2


@pytest.mark.parametrize("watched", [True, False], ids=["by a reload", "while nobody watched"])
def test_each_hosted_server_starts_once_when_gateway_and_servers_change_together(tmp_path: Path, *, watched: bool) -> None:
    """One is changed, one is not, one moves in from a bridge, one is new, and one was down because it could not be started."""
    config = fleet(tmp_path, free_port())
    config["members"]["down"] = {**server(tmp_path, "down"), "restart": {"condition": "never"}}
    broken = config["members"]["down"]["stdio"]["args"][1]
    config["members"]["down"]["stdio"]["args"][1] = "raise SystemExit(3)"
    with running(tmp_path, config, "--no-watch-config") as daemon:
        daemon.wait(lambda status: all(one["verdict"] == "healthy" for one in status["routes"] if one["name"] != "down"), "well")
        daemon.wait(lambda _: daemon.member("down")["phase"] == "failed", "one cannot be started")
        before = starts(daemon)
        config["members"]["down"]["stdio"]["args"][1] = broken
        del config["members"]["three"]["bridge"]
        config["members"]["new"] = server(tmp_path, "new")
        changed(config, "one", gateway=True)
        if watched:
            reloaded(daemon, config)
        else:
            assert daemon.run("down", "--leave", timeout=120).returncode == 0
            daemon.write(config)
            daemon.start("--no-watch-config")
        port = config["proxy"]["listen"]
        status = daemon.wait(lambda seen: seen["healthy"] and all(port in one["url"] for one in seen["routes"]), "all is well")
        assert {one["name"] for one in status["members"]} == {"one", "two", "three", "down", "new", "proxy"}
        after = starts(daemon)
        assert {name: count - before.get(name, 0) for name, count in after.items()} == dict.fromkeys(config["members"], 1)


def changed(config: dict[str, Any], *names: str, gateway: bool = False) -> None:
    """Other servers under these names, and another process of the gateway."""
    for name in names:
        config["members"][name]["stdio"]["args"].append("more")
    if gateway:
        config["proxy"]["listen"] = f"127.0.0.1:{free_port()}"


def reloaded(daemon: Daemon, config: dict[str, Any]) -> None:
    daemon.write(config)
    done = daemon.run("reload", timeout=120)
    assert done.returncode == 0, done.stderr


def runs(status: dict[str, Any], name: str, generation: int | None = None) -> bool:
    """Whether it runs, in this generation where one is said."""
    found = next(one for one in status["members"] if one["name"] == name)
    return found["phase"] == "running" and generation in (None, found["generation"])
