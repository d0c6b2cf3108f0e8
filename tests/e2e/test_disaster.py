"""A fleet with history, pins and silences is lost whole and comes back from its backup; clients are not touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mcpwatch.cli.backup import VARIABLE
from tests.e2e.daemon import Daemon, free_port, running

pytestmark = pytest.mark.slow

TOKEN = "tok-of-the-lost-fleet"
FLEET = """\
version: 1
env_file: fleet.env
proxy: {{listen: "127.0.0.1:{port}", auth: {{tokens: ["${{FLEET_TOKEN}}"]}}}}
members:
  time: {{stdio: {{command: mcp-server-time}}}}
clients: [{{kind: claude-code, path: {client}, hold_up: 100ms, token_env: FLEET_TOKEN}}]
alerts: {{receivers: {{ops: {{kind: log}}}}, route: {{receiver: ops}}}}
"""


def test_a_lost_fleet_is_restored_and_runs_as_before(tmp_path: Path) -> None:
    home, kept, client = tmp_path / "home", tmp_path / "kept", tmp_path / "claude.json"
    home.mkdir()
    (home / "fleet.env").write_text(f"FLEET_TOKEN={TOKEN}\n")
    (home / "fleet.env").chmod(0o600)
    with running(home, FLEET.format(port=free_port(), client=client)) as daemon:
        daemon.env[VARIABLE] = "correct horse battery staple"
        daemon.healthy()
        daemon.wait(lambda _: client.exists() and "time" in client.read_text(), "the client lists it")
        assert daemon.run("check", "time").returncode == 0
        daemon.wait(lambda _: daemon.run("pin", "time").returncode == 0, "what it lists is pinned")
        assert daemon.run("silence", "add", "time", "--for", "2h", "--comment", "quiet").returncode == 0, "silenced"
        before = daemon.run("silence", "list", "--json").stdout
        facts = {(fact["time"], fact["text"]) for fact in daemon.events()}
        done = daemon.run("backup", "create", "--secrets", "--dir", str(kept), "--json", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        archive = json.loads(done.stdout)["path"]
        daemon.stop()
    shutil.rmtree(home)
    home.mkdir()
    bytes_before = client.read_bytes()
    lost = Daemon(home, "")
    lost.env[VARIABLE] = "correct horse battery staple"
    lost.config.unlink()
    done = lost.run("backup", "restore", archive, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        lost.start()
        status = lost.healthy()
        assert [member["name"] for member in status["members"]] == ["time", "proxy"]
        assert facts <= {(fact["time"], fact["text"]) for fact in lost.events()}, "the history is there"
        assert lost.run("tools", "time", "--diff").returncode == 0, "the pin is there"
        assert json.loads(lost.run("silence", "list", "--json").stdout) == json.loads(before)
        assert lost.run("test", "-c", str(lost.config)).returncode == 0, "the token is the same"
        assert client.read_bytes() == bytes_before, "the client's file was not touched"
    finally:
        lost.close()
