"""deploy/swarm/stack.yaml on a swarm of three nodes: the watchdog as one of its tasks, members beside it, as a client sees them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.daemon import free_port
from tests.e2e.test_swarm_fleet import SERVE
from tests.parts import ROOT
from tests.runtimes.docker_lab import IMAGE
from tests.runtimes.mcp_ask import tools
from tests.runtimes.swarm_lab import Node, Swarm

STACK = ROOT / "deploy" / "swarm" / "stack.yaml"
OWN_IMAGE = "mcpwatch:test"
TOKEN = "token-of-this-test"
MEMBERS = "members"
"""The node label that members ask for."""
NOTHING: Mapping[str, Any] = {"healthy": False, "members": [], "routes": [], "diagnoses": []}
"""The status of a watchdog that does not answer."""
Watchdog = tuple[Node, str]
"""A watchdog's task: its node and its container."""


class Deployed:
    """One stack: member `one` that mcpwatch restarts, and `two` of two replicas that the swarm keeps."""

    def __init__(self, swarm: Swarm, directory: Path, name: str) -> None:
        self.swarm, self.name, self.port = swarm, name, free_port()
        self.service = f"{name}_mcpwatch"
        self.file = directory / f"{name}.yaml"
        self.members = {"one": f"{name}-one", "two": f"{name}-two"}
        self.lost: frozenset[Node] = frozenset()
        """Nodes that are not asked: they are dead, or cut off."""
        fleet = yaml.safe_load((STACK.parent / "mcpwatch.yaml").read_text(encoding="utf-8"))
        members = {member: self._member(member, service) for member, service in self.members.items()}
        self.file.write_text(json.dumps({**fleet, "members": members}), encoding="utf-8")

    def _member(self, member: str, service: str) -> Mapping[str, object]:
        carried = {
            "image": IMAGE, "name": service, "placement": "any", "command": ["python3", "-c", SERVE], "networks": ["mcp-net"],
            "constraints": [f"node.labels.{MEMBERS}=={self.name}"], **({"replicas": 2} if member == "two" else {}),
        }  # fmt: skip
        tools = {"tools": {"interval": "1s"}}
        return {"swarm": carried, "url": f"http://tasks.{service}:8000/mcp", "checks": tools, "start_grace": "90s"}

    @property
    def manager(self) -> Node:
        """A manager that lives and is reached."""
        return next(node for node in self.swarm.nodes if node not in self.lost)

    @property
    def reached(self) -> tuple[Node, ...]:
        """Every node that lives and is reached."""
        return tuple(node for node in self.swarm.nodes if node not in self.lost)

    def deploy(self, node: Node) -> None:
        """The one command, with the watchdog's task on `node` and the members on the others."""
        for other in (other for other in self.swarm.nodes if other is not node):
            self.manager.docker("node", "update", "--label-add", f"{MEMBERS}={self.name}", identity(other))
        self.only(node)
        env = {
            **os.environ,
            "MCPWATCH_IMAGE": OWN_IMAGE,
            "MCPWATCH_FILE": str(self.file),
            "MCPWATCH_CONFIG": self.name,
            "MCPWATCH_PORT": str(self.port),
            "DOCKER_GID": str((self.manager.home / "docker.sock").stat().st_gid),
        }
        words = ["docker", "-H", self.manager.socket, "stack", "deploy", "--resolve-image", "never", "-c", str(STACK), self.name]
        done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        self.until("its task runs", lambda: self.watchdogs() != [])
        self.only(*self.swarm.nodes)

    def only(self, *nodes: Node) -> None:
        """Have the swarm place new tasks on these nodes alone; what runs elsewhere stays."""
        for node in self.swarm.nodes:
            self.manager.docker("node", "update", "--availability", "active" if node in nodes else "pause", identity(node))

    def containers(self, service: str, *nodes: Node) -> list[tuple[Node, str]]:
        """The containers that run for a service, on `nodes` (empty: all that are reached)."""
        asked = ("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={service}")
        return [(node, one) for node in nodes or self.reached for one in node.docker(*asked, check=False).split()]

    def watchdogs(self) -> list[Watchdog]:
        """Every watchdog's task that runs on a node that is reached."""
        return self.containers(self.service)

    def running(self) -> list[int]:
        """How many tasks of each member run."""
        return [len(self.containers(service)) for service in self.members.values()]

    def standing(self) -> dict[str, object]:
        """What must not change when only the watchdog does: what runs and since when, every task ever, the service as written."""
        found: dict[str, object] = {}
        for member, service in self.members.items():
            tasks = [
                (node.number, one, node.docker("inspect", "-f", "{{.State.StartedAt}}", one))
                for node, one in self.containers(service)
            ]
            written = self.manager.docker("service", "inspect", "-f", "{{json .Spec}}", service)
            every = self.manager.docker("service", "ps", "-q", "--no-trunc", service).split()
            found[member] = (sorted(tasks), sorted(every), written)
        return found

    def serves(self, node: Node, member: str) -> bool:
        """Whether a client that comes to this node gets the member's tools."""
        return tools(f"http://{node.address}:{self.port}/{member}/mcp", TOKEN, bound=3.0) == ["echo"]

    def status(self, watchdog: Watchdog) -> dict[str, Any]:
        """What a watchdog says; nothing while it does not answer."""
        node, container = watchdog
        said = node.docker("exec", container, "mcpwatch", "status", "--json", check=False)
        return {**NOTHING, **(json.loads(said) if said.startswith("{") else {})}

    def events(self, watchdog: Watchdog) -> list[str]:
        """Every fact that a watchdog recorded, as text."""
        node, container = watchdog
        said = node.docker("exec", container, "mcpwatch", "events", "--json", "-n", "100000", check=False)
        return [str(json.loads(line)["text"]) for line in said.splitlines() if line.startswith("{")]

    def proved(self, watchdog: Watchdog) -> bool:
        """Whether a watchdog has proved all members and routes."""
        status = self.status(watchdog)
        return bool(status["healthy"]) and {one["name"] for one in status["routes"]} == set(self.members)

    def until(self, what: str, true: Any, bound: float = 180.0) -> float:
        """Wait until this holds, which no file and no socket tells; the seconds that it took. Fails with what is to be seen."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < bound, f"never seen: {what}\n{self.shown()}"
            time.sleep(0.2)
        return time.monotonic() - began

    def shown(self) -> str:
        """What managers and watchdogs say, for who reads a failure."""
        services = (self.service, *self.members.values())
        shown = [self.manager.docker("node", "ls", check=False)]
        shown += [self.manager.docker("service", "ps", "--no-trunc", service, check=False) for service in services]
        for watchdog in self.watchdogs():
            shown.append(json.dumps(self.status(watchdog))[:4000])
            shown += self.events(watchdog)[-40:]
        return "\n".join(shown)

    def remove(self) -> None:
        """Everything, members too, with every node there again."""
        for node in self.lost:
            node.join()
            node.start()
        self.lost = frozenset()
        self.until("all nodes are there", lambda: states(self.manager) == ["Ready"] * 3)
        self.only(*self.swarm.nodes)
        manager = self.manager
        manager.docker("stack", "rm", self.name, check=False)
        self.until("no watchdog is left", lambda: not self.watchdogs())  # it would make its members again
        for service in self.members.values():
            manager.docker("service", "rm", service, check=False)
        self.until("no member is left", lambda: not any(self.containers(one) for one in self.members.values()))
        self.until(
            "its network is gone", lambda: manager.docker("network", "rm", "mcp-net", check=False) == "mcp-net" or gone(manager)
        )


def gone(manager: Node) -> bool:
    """Whether there is no network of the stack any more."""
    return "mcp-net" not in manager.docker("network", "ls", "--format", "{{.Name}}").split()


def identity(node: Node) -> str:
    """The id of a node in the swarm."""
    return node.docker("info", "-f", "{{.Swarm.NodeID}}")


def states(manager: Node) -> list[str]:
    """Of all nodes: `Ready`, `Down` and the like."""
    return manager.docker("node", "ls", "--format", "{{.Status}}", check=False).split()
