"""The swarm runtime on a real swarm of three nodes: placed anywhere, moved when a node dies or is drained, named, adopted."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Gone, Hindered, Incarnation, Moved, RuntimeEvent
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.swarm.runtime import SwarmRuntime
from mcpwatch.runtimes.swarm.spec import SwarmSpec
from tests.runtimes.docker_lab import IMAGE, holds
from tests.runtimes.swarm_lab import Node, Swarm, three_nodes, until

BOUND = 120.0
SERVE = "import http.server as h; print('up', flush=True); h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("swarm-nodes"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("swarm"),
]


@pytest.fixture(scope="module")
def swarm() -> Generator[Swarm]:
    with three_nodes() as three:
        yield three


class Fleet:
    """The swarm runtime of one instance, and what it tells."""

    def __init__(self, swarm: Swarm, directory: Path, instance: str) -> None:
        self.swarm = swarm
        self.runtime = SwarmRuntime(directory, instance)
        self.heard: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    def spec(self, name: str, **swarm: Any) -> MemberSpec:
        written = {
            "image": IMAGE,
            "host": self.swarm.nodes[0].socket,
            "placement": "any",
            "command": ["python3", "-c", SERVE],
            "constraints": [],
            **swarm,
        }
        direct = Target(f"http://mcp-{name}:8000/")
        return MemberSpec(
            name, "server", "swarm", SwarmSpec.model_validate(written), "f1", direct, stop_grace=2.0, start_grace=120.0
        )

    async def listen(self) -> None:
        async for event in self.runtime.watch():
            self.heard.put_nowait(event)

    async def next(self, kind: type[RuntimeEvent]) -> Any:
        async with asyncio.timeout(BOUND):
            while True:
                event = await self.heard.get()
                if isinstance(event, kind):
                    return event

    def node(self, incarnation: Incarnation) -> Node:
        """Where a task runs."""
        wanted = incarnation.container or "-"
        return next(node for node in self.swarm.nodes if wanted in node.docker("ps", "-q", "--no-trunc", check=False))


@asynccontextmanager
async def fleet(swarm: Swarm, directory: Path, instance: str = "abcdefabcdef") -> AsyncGenerator[Fleet]:
    made = Fleet(swarm, directory, instance)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        listening.cancel()
        await made.runtime.close()


def services(swarm: Swarm) -> list[str]:
    return swarm.nodes[0].docker("service", "ls", "--format", "{{.Name}}").split()


def fetch(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status


async def test_a_member_runs_on_any_node_its_log_end_and_secret_are_known_and_the_next_watchdog_adopts_it(
    swarm: Swarm, tmp_path: Path
) -> None:
    manager = swarm.nodes[0]
    (tmp_path / "word").write_text("sesame")
    manager.docker("secret", "create", "word", str(tmp_path / "word"))
    manager.docker("node", "update", "--label-add", "disk=ssd", node_id(swarm.nodes[1]))
    async with fleet(swarm, tmp_path) as one:
        code = "import time; print(open('/run/secrets/pass').read(), flush=True); time.sleep(600)"
        spec = one.spec("one", command=["python3", "-c", code], constraints=["node.labels.disk==ssd"], secrets=["word:pass"])
        born = await one.runtime.start(spec, 7)
        assert one.node(born) is swarm.nodes[1]
        await holds(tmp_path / "logs" / "one" / "stdout.log", lambda text: "sesame" in text)
        shown = json.loads(manager.docker("service", "inspect", "mcp-one"))[0]["Spec"]
        assert "sesame" not in json.dumps(shown)
        assert shown["TaskTemplate"]["RestartPolicy"]["Condition"] == "none"
    async with fleet(swarm, tmp_path) as two:
        (adopted,) = await two.runtime.owned((spec,))
        assert (adopted.container, adopted.generation, adopted.fingerprint) == (born.container, 7, "f1")
        swarm.nodes[1].docker("kill", "-s", "USR1", born.container or "")
        ended: Exited = await two.next(Exited)
        assert (ended.generation, ended.signal) == (7, 10)
        assert swarm.nodes[1].address in ended.detail
        await two.runtime.stop(spec, 1)
    assert services(swarm) == []
    lines = (tmp_path / "logs" / "one" / "stdout.log").read_text().splitlines()
    assert [line for line in lines if "sesame" in line] == lines[:1]


async def test_what_a_swarm_cannot_place_is_named_and_leaves_nothing(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(swarm, tmp_path) as one:
        with monkeypatch.context() as patience:
            patience.setattr("mcpwatch.runtimes.swarm.placed.PLACED_SECONDS", 5.0)
            with pytest.raises(RuntimeFailed, match=r"no suitable node .*; change constraints or limits"):
                await one.runtime.start(one.spec("one", constraints=["node.labels.disk==tape"]), 1)
        with pytest.raises(RuntimeFailed, match=r"has no image no-such-image:1 and cannot pull it; load it on every node"):
            await one.runtime.start(one.spec("one", image="no-such-image:1"), 1)
        with pytest.raises(RuntimeFailed, match=r"the swarm has no secret 'none'; make it: docker secret create none FILE"):
            await one.runtime.start(one.spec("one", secrets=["none"]), 1)
        swarm.nodes[0].docker("service", "create", "--detach", "--name", "mcp-one", "--no-resolve-image", IMAGE, "sleep", "600")
        try:
            with pytest.raises(RuntimeFailed, match=r"is not ours; choose another with swarm\.name"):
                await one.runtime.start(one.spec("one"), 1)
        finally:
            swarm.nodes[0].docker("service", "rm", "mcp-one")
    assert services(swarm) == []


async def test_a_drained_and_a_dead_node_are_named_and_the_next_generation_runs_elsewhere(swarm: Swarm, tmp_path: Path) -> None:
    manager = swarm.nodes[0]
    async with fleet(swarm, tmp_path) as one:
        elsewhere = f"node.id!={node_id(manager)}"
        spec = one.spec("one", constraints=[elsewhere], ports=["0.0.0.0:8123:8000"])
        first = await one.runtime.start(spec, 1)
        home = one.node(first)
        assert first.direct is not None
        assert home.address in first.direct.url
        until("the member answers", lambda: answers(first))
        manager.docker("node", "update", "--availability", "drain", node_id(home))
        hindered: Hindered = await one.next(Hindered)
        assert (hindered.member, hindered.cause) == ("one", "node_not_ready")
        drained: Exited = await one.next(Exited)
        assert (drained.generation, drained.detail) == (1, f"node {host()} ({home.address}) was drained")
        second = await one.runtime.start(spec, 2)
        assert one.node(second) is not home
        until("the member answers", lambda: answers(second))
        manager.docker("node", "update", "--availability", "active", node_id(home))
        lost = one.node(second)
        lost.kill()
        dead: Exited = await one.next(Exited)
        assert dead.generation == 2
        assert dead.detail.endswith(f"({lost.address}) is down; what ran there cannot be seen")
        third = await one.runtime.start(spec, 3)
        assert one.node(third) is home
        until("the member answers", lambda: answers(third))
        lost.start()
        until("the node is back", lambda: ready(manager) == 3)
        until("the old task is gone", lambda: lost.docker("ps", "-q", "--filter", "name=mcp-one") == "")
        await one.runtime.stop(spec, 1)
    assert services(swarm) == []


async def test_replicas_survive_a_node_and_are_updated_where_there_is_room(swarm: Swarm, tmp_path: Path) -> None:
    manager = swarm.nodes[0]
    async with fleet(swarm, tmp_path) as one:
        spec = one.spec("one", replicas=2, constraints=[f"node.id!={node_id(manager)}"], ports=["0.0.0.0:8124:8000"])
        first = await one.runtime.start(spec, 1)
        until("both replicas serve", lambda: all(serves(node, 8124) for node in swarm.nodes[1:]))
        home = one.node(first)
        home.kill()
        moved: Moved = await one.next(Moved)
        other = next(node for node in swarm.nodes[1:] if node is not home)
        assert (moved.generation, moved.direct.url) == (1, f"http://{other.address}:8124/")
        causes = [(await one.next(Hindered)).cause]
        while (
            causes[-1] != "unschedulable"
        ):  # first the node is down, then nothing takes what ran there: its port is taken elsewhere
            causes.append((await one.next(Hindered)).cause)
        assert set(causes) <= {"node_not_ready", "unschedulable"}
        home.start()
        until("the node is back", lambda: ready(manager) == 3)
        cleared: Hindered = await one.next(Hindered)
        while cleared.cause:
            cleared = await one.next(Hindered)
        until("both replicas serve", lambda: all(serves(node, 8124) for node in swarm.nodes[1:]))
        await one.runtime.release(spec)
        roomy = one.spec("one", replicas=2, ports=["0.0.0.0:8124:8000"])
        second = await one.runtime.start(roomy, 2)
        assert second.container != first.container
        await one.runtime.stop(roomy, 2)
    assert services(swarm) == []


def serves(node: Node, port: int) -> bool:
    try:
        return fetch(f"http://{node.address}:{port}/") == 200
    except OSError:
        return False


async def test_without_a_majority_of_managers_nothing_is_known_and_nothing_is_restarted(swarm: Swarm, tmp_path: Path) -> None:
    async with fleet(swarm, tmp_path) as one:
        spec = one.spec("one")
        born = await one.runtime.start(spec, 1)
        others = swarm.nodes[1:]
        for node in others:
            node.cut()
        try:
            gone: Gone = await one.next(Gone)
            assert not gone.back
        finally:
            for node in others:
                node.join()
        back: Gone = await one.next(Gone)
        assert back.back
        until("all nodes are back", lambda: ready(swarm.nodes[0]) == 3)
        assert one.runtime.usage("one") is not None or born.container
        await one.runtime.stop(spec, 1)
    assert services(swarm) == []


def answers(born: Incarnation) -> bool:
    assert born.direct is not None
    try:
        return fetch(born.direct.url) == 200
    except OSError:
        return False


def host() -> str:
    return Path("/proc/sys/kernel/hostname").read_text(encoding="ascii").strip()


def node_id(node: Node) -> str:
    return node.docker("info", "-f", "{{.Swarm.NodeID}}")


def ready(manager: Node) -> int:
    return manager.docker("node", "ls", "--format", "{{.Status}}", check=False).split().count("Ready")
