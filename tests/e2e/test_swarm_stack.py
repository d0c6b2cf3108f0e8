"""`docker stack deploy` of deploy/swarm on a real swarm: watchdog, gateway and a member; the watchdog is lost and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import yaml

from tests.e2e.daemon import free_port
from tests.e2e.test_swarm_fleet import SERVE
from tests.parts import ROOT
from tests.runtimes.docker_lab import IMAGE, docker
from tests.runtimes.mcp_ask import tools
from tests.runtimes.test_swarm import alone, swarm

__all__ = ["alone", "swarm"]
"""Fixtures of this file too."""

pytestmark = [
    pytest.mark.needs("docker"),
    pytest.mark.needs("own-image"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(500),
    pytest.mark.xdist_group("swarm"),
    pytest.mark.usefixtures("swarm"),
]

STACK = ROOT / "deploy" / "swarm" / "stack.yaml"
BOUND = 150.0
TOKEN = "token-of-this-test"


class Stack:
    """One deployed stack."""

    def __init__(self, directory: Path) -> None:
        self.name, self.port = f"mw{free_port()}", free_port()
        self.file = directory / "mcpwatch.yaml"
        self.member = f"{self.name}-one"
        member = {
            "swarm": {
                "image": IMAGE,
                "name": self.member,
                "placement": "any",
                "command": ["python3", "-c", SERVE],
                "networks": ["mcp-net"],
            },
            "url": f"http://tasks.{self.member}:8000/mcp",
            "checks": {"tools": {"interval": "1s"}},
            "start_grace": "90s",
        }
        fleet = yaml.safe_load((STACK.parent / "mcpwatch.yaml").read_text(encoding="utf-8"))
        self.file.write_text(json.dumps({**fleet, "members": {"one": member}}), encoding="utf-8")

    def deploy(self, number: int = 1) -> None:
        """The one command."""
        env = {
            **os.environ,
            "MCPWATCH_IMAGE": "mcpwatch:test",
            "MCPWATCH_FILE": str(self.file),
            "MCPWATCH_CONFIG": f"{self.name}-{number}",
            "MCPWATCH_PORT": str(self.port),
            "DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
        }
        words = ["docker", "stack", "deploy", "--resolve-image", "never", "-c", str(STACK), self.name]
        done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def task(self, service: str) -> str:
        """The container that runs for a service; empty for none."""
        found = docker("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={service}").split()
        return found[0] if found else ""

    @property
    def watchdog(self) -> str:
        """The watchdog's container."""
        return self.task(f"{self.name}_mcpwatch")

    def serves(self, token: str = TOKEN) -> bool:
        """Whether a client gets the member's tools."""
        return tools(f"http://127.0.0.1:{self.port}/one/mcp", token) == ["echo"]

    def status(self) -> dict[str, list[dict[str, object]]]:
        """What the watchdog says; nothing while there is none."""
        said = docker("exec", self.watchdog or "none", "mcpwatch", "status", "--json", check=False)
        return json.loads(said) if said.startswith("{") else {"members": []}

    def remove(self) -> None:
        """Everything, members too."""
        docker("stack", "rm", self.name, check=False)
        until("no watchdog is left", lambda: not self.watchdog)  # it would make its member again
        docker("service", "rm", self.member, check=False)
        until("no container is left", lambda: not self.watchdog and not self.task(self.member))
        docker("secret", "rm", "mcp_proxy_token", check=False)
        until("its volume is gone", lambda: docker("volume", "rm", "-f", f"{self.name}_state", check=False) != "")
        until("its network is gone", lambda: docker("network", "rm", "-f", "mcp-net", check=False) == "mcp-net")


def until(what: str, true: Callable[[], object]) -> None:
    """Wait until this holds, which no file and no socket tells."""
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.2)


@pytest.fixture
def stack(swarm: None, tmp_path: Path) -> Generator[Stack]:
    made = Stack(tmp_path)
    word = tmp_path / "token"
    word.write_text(TOKEN, encoding="utf-8")
    docker("secret", "create", "mcp_proxy_token", str(word))
    try:
        made.deploy()
        yield made
    finally:
        made.remove()


def generation(stack: Stack) -> object:
    """The member's generation, while its route is proved."""
    return next((one["generation"] for one in stack.status()["members"] if one["phase"] == "running"), None)


def test_one_command_brings_up_watchdog_gateway_and_member_and_a_lost_watchdog_comes_back_without_touching_the_member(
    stack: Stack,
) -> None:
    until("the member serves through the gateway", stack.serves)
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.serves("another token")
    assert refused.value.code == 401
    until("the watchdog has proved it", lambda: generation(stack) == 1)
    shown = json.loads(docker("inspect", stack.watchdog))[0]
    assert shown["Config"]["User"].startswith("10001:")
    assert shown["HostConfig"]["ReadonlyRootfs"]
    assert shown["HostConfig"]["CapDrop"] == ["ALL"]
    assert TOKEN not in json.dumps(shown)
    member, watchdog = stack.task(stack.member), stack.watchdog
    docker("kill", watchdog)
    until("another watchdog runs", lambda: stack.watchdog not in {"", watchdog})
    until("the member serves again", stack.serves)
    until("the next watchdog has it as it was", lambda: generation(stack) == 1)
    assert stack.task(stack.member) == member

    watchdog = stack.watchdog
    stack.file.write_text(stack.file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    stack.deploy(2)
    until("the update runs", lambda: stack.watchdog not in {"", watchdog})
    until("the member serves after it", stack.serves)
    assert stack.task(stack.member) == member
