"""What AI clients run by themselves comes behind the proxy, their entries become routes, and `clients undo` takes it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.daemon import free_port, running

pytestmark = pytest.mark.slow


@pytest.mark.timeout(180)
def test_clients_servers_come_into_the_fleet_and_their_entries_become_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    cursor = home / ".cursor" / "mcp.json"
    cursor.parent.mkdir(parents=True)
    servers: dict[str, Any] = {
        "git": {"command": "mcp-server-git", "args": []},
        "clock": {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]},
        "asked": {"command": "mcp-server-time", "env": {"T": "${input:t}"}},
        "broken": {"command": "mcp-server-time", "args": ["--no-such-option"]},
    }
    cursor.write_text(json.dumps({"mcpServers": servers}, indent=2))
    before = cursor.read_text()
    fleet = f'version: 1\nproxy: {{listen: "127.0.0.1:{free_port()}"}}\nmembers:\n  time: {{stdio: {{command: mcp-server-time}}}}\n'
    monkeypatch.setenv("HOME", str(home))
    with running(tmp_path, fleet) as daemon:
        daemon.healthy()
        done = daemon.run("import", "--yes", "--replace-clients", "--json", "--timeout", "60s", timeout=180)
        assert done.returncode == 1, done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert (said["imported"], said["failed"]) == (["git", "clock"], ["broken"])
        assert "asked of a person" in {one["name"]: one["trouble"] for one in said["found"]}["asked"]
        assert daemon.route("git")["verdict"] == "healthy"
        canary = yaml.safe_load((tmp_path / "fleet.yaml").read_text())["members"]["clock"]["checks"]["canary"]
        assert (canary["tool"], canary["interval"]) == ("get_current_time", "5m")
        entries = json.loads(cursor.read_text())["mcpServers"]
        assert daemon.route("git")["url"].rpartition("/")[0] in json.dumps(entries["git"])
        assert {name: entries[name] for name in ("asked", "broken")} == {name: servers[name] for name in ("asked", "broken")}
        assert daemon.run("clients", "undo", "cursor").returncode == 0
        assert cursor.read_text() == before, "one step back, whatever the watchdog wrote by itself meanwhile"
