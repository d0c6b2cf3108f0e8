"""`clean` on the real engine: by name the containers and logs of those members, then all that is ours; nothing of others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import free_port, running

pytestmark = [pytest.mark.slow, pytest.mark.needs("docker", "base-image"), pytest.mark.timeout(240)]

IMAGE = "mcpwatch-base:bookworm"


def docker(*words: str) -> list[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_clean_removes_containers_by_name_then_everything_of_the_fleet_and_nothing_else(tmp_path: Path) -> None:
    mark = f"mw{os.getpid()}"
    network, foreign = f"{mark}-net", f"{mark}-foreign"
    server = {"image": IMAGE, "command": ["sh", "-c", "echo begun; exec sleep 600"], "networks": [network], "pull": "never"}
    members = {f"{mark}-{name}": {"docker": server, "url": f"http://127.0.0.1:{free_port()}/sse"} for name in "abc"}

    def containers() -> list[str]:
        return docker("ps", "-a", "--filter", f"name={mark}", "--format", "{{.Names}}")

    def there() -> set[str]:
        return {name.partition(f"{mark}-")[2].partition("-")[0] for name in containers()}

    def networks() -> list[str]:
        return docker("network", "ls", "--filter", f"name={network}", "--format", "{{.Name}}")

    docker("run", "-d", "--name", foreign, IMAGE, "sleep", "600")
    try:
        with running(
            tmp_path,
            {"version": 1, "proxy": {"kind": "external", "base_url": f"http://127.0.0.1:{free_port()}"}, "members": members},
        ) as daemon:
            daemon.wait(lambda _: there() >= {"a", "b", "c"}, "all containers are there")
            daemon.wait(lambda _: (daemon.state / "logs" / f"{mark}-a").is_dir(), "what it says is kept")
            assert networks() == [network]
            assert daemon.run("clean", "--yes").returncode == 2, "a watchdog runs"
            assert daemon.run("down", "--leave", timeout=120).returncode == 0
            assert daemon.process is not None
            daemon.process.wait(60)
            said = daemon.run("clean", f"{mark}-a", "nobody", "--dry-run").stdout.splitlines()
            assert [line.split()[2] for line in said] == ["container", "directory"], said
            assert there() == {"a", "b", "c", "foreign"}
            assert daemon.run("clean", f"{mark}-a", "--yes").returncode == 0
            assert there() == {"b", "c", "foreign"}
            assert networks() == [network]
            assert daemon.state.exists()
            done = daemon.run("clean", "--yes", timeout=120)
            assert done.returncode == 0, done.stderr
            assert there() == {"foreign"}
            assert networks() == []
            assert not daemon.state.exists()
            assert daemon.config.exists()
    finally:
        for name in containers():
            docker("rm", "-f", name)
        for name in networks():
            docker("network", "rm", name)
