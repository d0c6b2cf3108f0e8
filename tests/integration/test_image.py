"""The image of the Dockerfile, run as it is meant to be: not root, read-only, owning a fleet from inside its container."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.reference_fleet import IMAGE, Names, sweep

OWN = "mcpwatch:test"
SOCKET = Path("/var/run/docker.sock")

pytestmark = [pytest.mark.needs("docker", "reference-fleet", "own-image"), pytest.mark.slow, pytest.mark.timeout(240)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, check=False)


def status(container: str) -> dict[str, Any]:
    done = run("docker", "exec", container, "mcpwatch", "status", "--json")
    return json.loads(done.stdout) if done.stdout.startswith("{") else {"healthy": False, "members": [], "routes": []}


def test_the_image_owns_a_fleet_from_inside_its_container(tmp_path: Path) -> None:
    names = Names()
    native = ["/opt/servers/bin/python", "/opt/postgres_like.py", "8686"]
    block = {"image": IMAGE, "name": names("pg"), "command": native, "networks": [names.network]}
    config = {
        "version": 1,
        "proxy": {"listen": "0.0.0.0:9090", "base_url": f"http://{names('watch')}:9090", "auth": {"tokens": ["${SEED_TOKEN}"]}},
        "members": {"pg": {"docker": block, "url": f"http://{names('pg')}:8686/sse"}},
        "defaults": {"check": {"interval": "2s", "timeout": "5s"}},
    }
    (tmp_path / "mcpwatch.yaml").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "mcpwatch.yaml").chmod(0o644)
    tmp_path.chmod(0o755)
    try:
        assert run("docker", "network", "create", names.network).returncode == 0
        started = run(
            "docker", "run", "-d", "--name", names("watch"), "--network", names.network,
            "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--group-add", str(SOCKET.stat().st_gid), "-v", f"{SOCKET}:{SOCKET}",
            "-v", f"{tmp_path}/mcpwatch.yaml:/etc/mcpwatch/mcpwatch.yaml:ro",
            "-e", f"SEED_TOKEN={secrets.token_hex(16)}", OWN,
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        deadline = time.monotonic() + 120
        shown = status(names("watch"))
        while not (shown.get("healthy") and shown["routes"]):
            assert time.monotonic() < deadline, run("docker", "logs", "--tail", "40", names("watch")).stdout
            shown = status(names("watch"))
        (pg,) = (member for member in shown["members"] if member["name"] == "pg")
        assert pg["runtime"] == "docker"
        assert run("docker", "exec", names("watch"), "id", "-u").stdout.strip() == "10001"
        stopped = run("docker", "stop", "-t", "60", names("watch"))
        assert stopped.returncode == 0
        assert run("docker", "inspect", "-f", "{{.State.ExitCode}}", names("watch")).stdout.strip() == "0"
        assert run("docker", "ps", "-aq", "--filter", f"name={names('pg')}").stdout == ""
    finally:
        sweep(names)
