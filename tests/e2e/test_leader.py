"""Two watchdogs of one fleet in a cluster: one leads; when it ends, is killed or is paused, the other takes over as it is."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mcpwatch.runtimes.kubernetes.manifests import FLEET, GENERATION, MEMBER
from tests.e2e.daemon import Daemon
from tests.fakes.kubernetes import KubernetesServer, kubernetes_server
from tests.runtimes.kubernetes.shapes import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BOUND = 120.0
DEPLOYMENT = "/apis/apps/v1/namespaces/mcp/deployments/mcp-time"
POD = "/api/v1/namespaces/mcp/pods/mcp-time-1"
FLEET_FILE = """
leader: {lease: mcp/fleet, duration: 8s}
proxy: {kind: none}
members:
  time:
    kubernetes: {image: time:1, fleet: shared, logs: false}
    url: http://127.0.0.1:9/sse
    start_grace: 20m
"""


def _until(true: Callable[[], object]) -> None:
    """Wait until this is true of the cluster."""
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def server() -> Generator[KubernetesServer]:
    with kubernetes_server() as made:
        yield made


@pytest.fixture
def pair(tmp_path: Path, server: KubernetesServer) -> Generator[tuple[Daemon, Daemon]]:
    """The leader, whose member runs, and the one that stands by."""
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
    made: list[Daemon] = []
    try:
        for name in ("a", "b"):
            directory = tmp_path / name
            directory.mkdir()
            daemon = Daemon(directory, FLEET_FILE)
            daemon.env["KUBECONFIG"] = kubeconfig
            made.append(daemon)
            daemon.start()
            if name == "a":
                _until(lambda: DEPLOYMENT in server.objects)
                labels = {FLEET: "shared", MEMBER: "time"}
                server.put(POD, {"metadata": {"labels": labels, "annotations": {GENERATION: "1"}}, "status": running()})
                daemon.wait(lambda status: status["members"][0]["generation"] == 1, "its member is started", BOUND)
        yield made[0], made[1]
    finally:
        for daemon in made:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
            daemon.close()


def _takes_over(server: KubernetesServer, other: Daemon) -> None:
    """The other adopts the member: its term is on the workload, and no pod was touched."""
    status = other.wait(lambda status: status["members"] and status["members"][0]["generation"], "it took over", BOUND)
    assert status["members"][0]["phase"] in ("starting", "running")
    made = server.objects[DEPLOYMENT]
    assert made["metadata"]["annotations"]["mcpwatch.dev/term"] == "2"
    assert made["spec"]["template"]["metadata"]["annotations"][GENERATION] == "1"
    assert made["spec"]["replicas"] == 1
    assert POD in server.objects


def test_a_leader_that_is_told_to_end_leaves_its_members_and_the_next_one_takes_over_at_once(
    server: KubernetesServer, pair: tuple[Daemon, Daemon]
) -> None:
    leader, other = pair
    assert other.status()["members"] == []
    assert leader.stop() == 0
    _takes_over(server, other)


def test_a_leader_that_is_killed_is_followed_when_its_lease_has_run_out(
    server: KubernetesServer, pair: tuple[Daemon, Daemon]
) -> None:
    leader, other = pair
    leader.stop(signal.SIGKILL)
    _takes_over(server, other)


def test_a_leader_that_was_paused_ends_when_it_wakes_up_and_changes_nothing(
    server: KubernetesServer, pair: tuple[Daemon, Daemon]
) -> None:
    leader, other = pair
    assert leader.process is not None
    leader.process.send_signal(signal.SIGSTOP)
    _takes_over(server, other)
    writes = server.count("PATCH", "")
    leader.process.send_signal(signal.SIGCONT)
    assert leader.process.wait(BOUND) == 0
    assert server.count("PATCH", "") == writes
    assert "another watchdog may lead" in leader.said()
