"""`add` and its companions on a running fleet: proved to the route, put back when anything fails, and killed at every step."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.cli.edit.steps import KILL_AT
from tests.e2e.daemon import Daemon, free_port, running

FLEET = """\
version: 1
proxy: {{listen: "127.0.0.1:{port}"}}   # the proxy
members:
  time:   # the clock
    stdio: {{command: mcp-server-time}}
clients: [{{kind: claude-code, path: ./claude.json, hold_up: 100ms, hold_down: 100ms}}]
web: false
"""
STEPS = ("try", "journal", "edit", "reload", "prove", "clients")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def lists(daemon: Daemon, name: str) -> bool:
    """Whether the client's file lists a route."""
    file = daemon.directory / "claude.json"
    return file.exists() and name in json.loads(file.read_text() or "{}").get("mcpServers", {})


def test_a_server_is_added_proved_and_removed_and_clients_follow(tmp_path: Path) -> None:
    text = FLEET.format(port=free_port())
    with running(tmp_path, text) as daemon:
        daemon.healthy()
        done = daemon.run("add", "vcs", "--json", "--", "mcp-server-git", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert [step["step"] for step in said["steps"]] == ["validate", "try", "edit", "reload", "prove", "clients"]
        assert (said["ok"], said["proved"], len(said["tools"])) == (True, True, 12)
        assert said["tokens"] > 500
        assert daemon.route("vcs")["verdict"] == "healthy"
        assert lists(daemon, "vcs")
        listed = json.loads(daemon.run("list", "--json").stdout)
        assert [(row["name"], row["how"], row["state"]) for row in listed] == [
            ("time", "hosted", "running, healthy"),
            ("vcs", "hosted", "running, healthy"),
        ]
        done = daemon.run("remove", "vcs", "--json", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert daemon.config.read_text() == text
        assert not lists(daemon, "vcs")
        assert daemon.member("time")["generation"] == 1, "nothing else was touched"


def test_a_server_that_fails_its_trial_or_its_proof_leaves_all_as_it_was(tmp_path: Path) -> None:
    text = FLEET.format(port=free_port())
    program = "import sys; sys.stderr.write('no key was given\\n'); sys.exit(3)"
    with running(tmp_path, text) as daemon:
        daemon.healthy()
        done = daemon.run("add", "bad", "--", sys.executable, "-c", program, timeout=120)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "exited with code 3" in done.stderr
        assert "no key was given" in done.stderr
        assert daemon.config.read_text() == text
        done = daemon.run("add", "bad", "--no-test", "--", sys.executable, "-c", program, timeout=120)
        assert done.returncode == 1, done.stdout + done.stderr
        assert daemon.config.read_text() == text
        status = daemon.wait(lambda shown: len(shown["members"]) == 2 and shown["healthy"], "the fleet is as it was")
        assert [member["name"] for member in status["members"]] == ["time", "proxy"]


def test_an_add_that_is_killed_at_any_step_is_taken_back_by_the_next_command(tmp_path: Path) -> None:
    text = FLEET.format(port=free_port())
    with running(tmp_path, text) as daemon:
        daemon.healthy()
        for step in STEPS:
            trial = [] if step == "try" else ["--no-test"]
            argv = [sys.executable, "-m", "mcpwatch", "add", "vcs", *trial, "--", "mcp-server-git"]
            killed = subprocess.run(argv, env={**daemon.env, KILL_AT: step}, capture_output=True, timeout=120, check=False)
            assert killed.returncode == -signal.SIGKILL, (step, killed.stderr)
            written = step not in ("try", "journal")
            assert (daemon.config.read_text() != text) == written
            done = daemon.run("list", "--format", "names")
            assert done.stdout.split() == ["time"], step
            assert ("was interrupted" in done.stderr) == (step != "try"), step
            assert daemon.config.read_text() == text, step
            daemon.wait(lambda shown: len(shown["members"]) == 2 and shown["healthy"], f"as before the add killed at {step}")
        assert not any((daemon.state / "edits").glob("journal*"))
