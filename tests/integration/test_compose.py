"""compose.yaml started by the real Docker Compose, and the Quadlet units read by the real Podman's generator."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.reference_fleet import IMAGE
from tests.parts import ROOT, program

OWN = "mcpwatch:test"
MEMBERS = ("proxy", "fetch", "time")
STAND_IN = ROOT / "tests" / "integration" / "engine_proxy.py"

OVERRIDE = f"""
services:
  mcpwatch: {{build: !reset null, image: "{OWN}", pull_policy: never, ports: !override []}}
  engine-proxy:
    image: mcpwatch-base:bookworm
    pull_policy: never
    command: [python3, /engine_proxy.py]
    volumes: ["{STAND_IN}:/engine_proxy.py:ro"]
  mcp-proxy: {{image: "{IMAGE}", pull_policy: never, entrypoint: [mcp-proxy], ports: !override []}}
  mcp-fetch: {{image: "{IMAGE}", pull_policy: never, entrypoint: [bridge], command: [BRIDGE, mcp-server-fetch]}}
  mcp-time: {{image: "{IMAGE}", pull_policy: never, entrypoint: [bridge], command: [BRIDGE, mcp-server-time]}}
""".replace("BRIDGE", '--host, 0.0.0.0, --port, "8080", --')
"""Images of this machine in place of those that cannot be pulled here; everything else is as it is shipped."""


def run(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, encoding="utf-8", timeout=timeout, check=False)


def status() -> dict[str, Any]:
    done = run("docker", "exec", "mcpwatch-under-compose", "mcpwatch", "status", "--json")
    return json.loads(done.stdout) if done.stdout.startswith("{") else {"healthy": False, "members": [], "routes": []}


def until(condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
    deadline = time.monotonic() + 150
    shown = status()
    while not condition(shown):
        assert time.monotonic() < deadline, (what, run("sh", "-c", "docker logs --tail 60 mcpwatch-under-compose 2>&1").stdout)
        shown = status()
    return shown


def well(shown: dict[str, Any]) -> bool:
    return bool(shown.get("healthy")) and len(shown["routes"]) == 2


@pytest.fixture
def compose(tmp_path: Path) -> Generator[tuple[str, ...]]:
    override = tmp_path / "override.yaml"
    override.write_text(
        OVERRIDE.replace("mcpwatch: {build", "mcpwatch: {container_name: mcpwatch-under-compose, build"), encoding="utf-8"
    )
    os.environ["MCP_PROXY_TOKEN"] = secrets.token_hex(16)
    base = (str(program("compose")), "-f", str(ROOT / "compose.yaml"), "-f", str(override), "-p", f"mcp-{secrets.token_hex(4)}")
    yield base
    gone = run(*base, "down", "-v", "-t", "5")
    del os.environ["MCP_PROXY_TOKEN"]
    assert gone.returncode == 0, gone.stderr


@pytest.mark.needs("docker", "root", "reference-fleet", "own-image", "compose")
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_compose_file_runs_a_fleet_that_is_healed_through_a_socket_proxy_that_lets_little_through(
    compose: tuple[str, ...],
) -> None:
    up = run(*compose, "up", "-d", timeout=180)
    assert up.returncode == 0, up.stderr
    before = until(well, "the fleet is proven")
    assert {member["name"]: member["runtime"] for member in before["members"]} == dict.fromkeys(MEMBERS, "docker")
    ask = "import urllib.request as u; u.urlopen('http://engine-proxy:2375/v1.41/containers/create', b'{}', 20)"
    refused = run("docker", "exec", "mcpwatch-under-compose", "python", "-c", ask)
    assert "403" in refused.stderr
    began = run("docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "mcp-proxy").stdout.split()
    assert run("docker", "kill", "mcp-fetch").returncode == 0

    def healed(shown: dict[str, Any]) -> bool:
        now = run("docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "mcp-proxy").stdout.split()
        return well(shown) and now[0] == began[0] and now[1] != began[1]

    until(healed, "fetch is started again, then the same proxy, and all is proven")


@pytest.mark.needs("quadlet")
def test_podmans_own_generator_makes_units_of_the_quadlet_files() -> None:
    env = {**os.environ, "QUADLET_UNIT_DIRS": str(ROOT / "deploy" / "quadlet")}
    done = subprocess.run([program("quadlet"), "-dryrun"], capture_output=True, encoding="utf-8", env=env, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    for unit in ("mcpwatch.service", "mcp-net-network.service", "mcpwatch-state-volume.service"):
        assert f"---{unit}---" in done.stdout
    (start,) = (line for line in done.stdout.splitlines() if line.startswith("ExecStart=") and "podman run" in line)
    for wanted in ("--read-only", "--cap-drop all", "no-new-privileges", "--network mcp-net", "--health-cmd"):
        assert wanted in start
    assert not [line for line in done.stderr.splitlines() if "Loading source unit file" not in line]
