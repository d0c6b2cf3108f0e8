"""A restart of the gateway is a restart of what it hosts: whoever asks for both, each hosted server is started once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checks.test_stdio import SPEAK
from tests.e2e.daemon import Daemon, free_port, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def fleet(directory: Path, port: int) -> dict[str, Any]:
    """Two hosted servers, each of which writes a line where it starts, and a bridge."""

    def server(name: str) -> dict[str, Any]:
        note = f"open({str(directory / name)!r}, 'a').write('started\\n')\n"
        return {"stdio": {"command": sys.executable, "args": ["-c", note + SPEAK]}}

    bridge = {**server("three"), "bridge": {"listen": f"127.0.0.1:{free_port()}"}}
    members = {"one": server("one"), "two": server("two"), "three": bridge}
    return {"version": 1, "proxy": {"listen": f"127.0.0.1:{port}"}, "members": members}


def starts(daemon: Daemon) -> dict[str, int]:
    return {name: (daemon.directory / name).read_text().count("started") for name in ("one", "two")}


def test_a_hosted_server_starts_once_when_it_is_restarted_together_with_its_gateway(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert starts(daemon) == {"one": 1, "two": 1}
        done = daemon.run("restart", "--all", "--json", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {member["name"]: member["generation"] for member in json.loads(done.stdout)} == dict.fromkeys(
            ("one", "two", "three", "proxy"), 2
        )
        daemon.healthy()
        assert starts(daemon) == {"one": 2, "two": 2}
        assert daemon.run("restart", "one", "proxy", timeout=120).returncode == 0
        daemon.healthy()
        assert starts(daemon) == {"one": 3, "two": 3}


def test_a_hosted_server_that_was_stopped_runs_after_a_restart_of_all(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        assert daemon.run("restart", "--all", timeout=120).returncode == 0
        assert [member["phase"] for member in daemon.healthy()["members"]] == ["running"] * 4
        assert starts(daemon)["two"] == 2
