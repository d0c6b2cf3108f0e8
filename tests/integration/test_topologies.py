"""The reference topologies in examples/: each loads with everything we ship, those that can run here do run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcpwatch.app.kinds import all_kinds
from mcpwatch.config.load import load_plan
from mcpwatch.runtimes.docker.spec import DockerSpec
from tests.e2e.daemon import free_port, running
from tests.integration.reference_fleet import proven
from tests.parts import ROOT, SERVERS, program

TOPOLOGIES = sorted((ROOT / "examples" / "topologies").glob("*.yaml"))


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_every_topology_loads(path: Path, tmp_path: Path) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("mcp-server-time", "mcp-server-fetch", "mcp-proxy"):
        (bin_dir / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (bin_dir / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{bin_dir}:{before}"
    try:
        plan = load_plan(path, all_kinds(), {"PATH": f"{bin_dir}:{before}"}, tmp_path)
    finally:
        os.environ["PATH"] = before
    assert plan.proxy is not None
    assert {route.member for route in plan.routes} == {member.name for member in plan.members if member.kind != "proxy"}


def test_the_docker_topology_gives_the_proxy_its_file_its_port_and_nothing_secret(tmp_path: Path) -> None:
    plan = load_plan(ROOT / "examples" / "topologies" / "tbxark-docker.yaml", all_kinds(), {}, tmp_path)
    proxy = plan.members[-1]
    assert isinstance(proxy.carrier, DockerSpec)
    assert proxy.carrier.command == ("-config", "/config/config.json", "-expand-env=false")
    assert proxy.carrier.volumes == (f"{tmp_path}/proxy:/config:ro",)
    assert proxy.carrier.ports == ("127.0.0.1:9090:9090",)
    assert "change-me-please" not in str(proxy.carrier.model_dump())
    files = plan.member("files")
    assert files is not None
    assert isinstance(files.carrier, DockerSpec)
    assert files.carrier.volumes[0] == f"{ROOT}/examples/topologies/data:/data:ro"


def test_lists_from_a_cache_are_looked_behind_and_honest_ones_are_not_bothered(tmp_path: Path) -> None:
    docker = load_plan(ROOT / "examples" / "topologies" / "tbxark-docker.yaml", all_kinds(), {}, tmp_path)
    fetch = next(route for route in docker.routes if route.name == "fetch")
    assert next(check for check in fetch.checks if check.kind == "mcp").safe_call


def test_compose_and_quadlet_run_it_as_carefully() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    watch = compose["services"]["mcpwatch"]
    assert watch["read_only"] is True
    assert watch["cap_drop"] == ["ALL"]
    assert all("docker.sock" not in str(volume) for volume in watch["volumes"])
    assert all(service.get("restart") == "no" for name, service in compose["services"].items() if name.startswith("mcp-"))
    quadlet = (ROOT / "deploy" / "quadlet" / "mcpwatch.container").read_text(encoding="utf-8")
    assert {"ReadOnly=true", "DropCapability=all", "NoNewPrivileges=true", "HealthCmd=mcpwatch health --daemon"} <= set(
        quadlet.splitlines()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "part"),
    [
        pytest.param("tbxark-stdio", "tbxark", marks=pytest.mark.needs("tbxark")),
        pytest.param("tbxark-stdio", "tbxark-new", marks=pytest.mark.needs("tbxark-new")),
        pytest.param("sparfenyuk", "sparfenyuk", marks=pytest.mark.needs("sparfenyuk")),
        ("gateway", ""),
    ],
)
@pytest.mark.timeout(180)
def test_a_topology_runs_and_heals_a_killed_member(topology: str, part: str, tmp_path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "topologies" / f"{topology}.yaml").read_text(encoding="utf-8"))
    config["proxy"]["listen"] = f"127.0.0.1:{free_port()}"
    config["telemetry"] = {"metrics": {"listen": f"127.0.0.1:{free_port()}"}}
    config["defaults"]["check"] = {"interval": "2s", "timeout": "5s", "failure_threshold": 2}
    if part:
        config["proxy"]["binary"] = str(program(part))
    for member in config["members"].values():
        member["stdio"]["command"] = str(SERVERS / member["stdio"]["command"])
        if "bridge" in member:
            member["bridge"]["listen"] = f"127.0.0.1:{free_port()}"
    with running(tmp_path, config) as daemon:
        proven(daemon, 90)
        victim = "proxy" if part else "fetch"
        done = daemon.run("drill", victim, "--fault", "kill", "--timeout", "90", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        proven(daemon, 60)
