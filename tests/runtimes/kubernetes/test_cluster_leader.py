"""Two watchdogs of one fleet on the real API server, as a service account with the rights of `mcpwatch rbac` and no other."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.daemon import Daemon
from tests.runtimes.kubernetes.cluster import Cluster, Raw, until
from tests.runtimes.kubernetes.plane import BOUND, MARKS

pytestmark = [*MARKS]

FLEET_FILE = """
leader: {{lease: {0}/fleet, duration: 6s}}
proxy: {{kind: none}}
members:
  time:
    kubernetes: {{image: time:1, namespace: {0}, fleet: shared, logs: false, config: {{path: /etc/x, files: {{a: b}}}}}}
    url: http://127.0.0.1:9/sse
    start_grace: 20m
"""


class Pair:
    """Two watchdogs, `a` and `b`, and the namespace of their member."""

    def __init__(self, plane: Cluster, directory: Path, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.wanted: Raw = {}
        """What the workload wants, as the first leader wrote it."""
        self.leader, self.other = (self._daemon(directory / name) for name in "ab")

    def _daemon(self, directory: Path) -> Daemon:
        directory.mkdir()
        return Daemon(directory, FLEET_FILE.format(self.namespace))

    def grant(self) -> None:
        """A service account with what `mcpwatch rbac` prints, and its tokens for both."""
        plane, namespace = self.plane, self.namespace
        printed = self.leader.run("rbac", "-c", str(self.leader.config), "--service-account", f"{namespace}/mcpwatch")
        assert printed.returncode == 0, printed.stderr
        plane.account(namespace, "mcpwatch", rules=printed.stdout)
        for daemon in (self.leader, self.other):
            token = {"token": plane.token(namespace, "mcpwatch")}
            daemon.env["KUBECONFIG"] = plane.access(daemon.directory / "kubeconfig", token, namespace)

    def deployment(self) -> Raw:
        """The member's workload."""
        return self.plane.call("GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments/mcp-time")

    def pods(self) -> list[tuple[str, str]]:
        """Names and uids of all pods."""
        found = self.plane.call("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return sorted((one["metadata"]["name"], one["metadata"]["uid"]) for one in found)

    def term(self) -> str:
        """Whose workload it is."""
        return self.deployment()["metadata"]["annotations"].get("mcpwatch.dev/term", "")

    def takes_over(self, pods: list[tuple[str, str]]) -> None:
        """The other leads with the next term, and its member is the same pod."""
        status = self.other.wait(lambda status: status["members"] and status["members"][0]["generation"], "it took over", BOUND)
        assert status["members"][0]["phase"] in {"starting", "running"}
        until(lambda: self.term() == "2")
        assert self.pods() == pods
        assert self.deployment()["spec"] == self.wanted

    def close(self) -> None:
        """End both."""
        for daemon in (self.leader, self.other):
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
            daemon.close()


@contextmanager
def pair(plane: Cluster, directory: Path, namespace: str) -> Generator[Pair]:
    """The leader, whose member runs, and the one that stands by."""
    plane.namespace(namespace)
    made = Pair(plane, directory, namespace)
    try:
        made.grant()
        made.leader.start()
        made.leader.wait(lambda status: status["members"][0]["generation"] == 1, "its member is started", BOUND)
        until(made.pods)
        made.wanted = made.deployment()["spec"]
        made.other.start()
        yield made
    finally:
        made.close()


def test_a_leader_that_is_killed_is_followed_by_one_that_restarts_nothing(plane: Cluster, tmp_path: Path) -> None:
    with pair(plane, tmp_path, "killed") as two:
        pods = two.pods()
        assert two.other.status()["members"] == []
        two.leader.stop(signal.SIGKILL)
        two.takes_over(pods)


def test_a_leader_that_was_paused_acts_on_nothing_when_it_wakes_up(plane: Cluster, tmp_path: Path) -> None:
    with pair(plane, tmp_path, "paused") as two:
        pods, leader = two.pods(), two.leader
        assert leader.process is not None
        leader.process.send_signal(signal.SIGSTOP)
        two.takes_over(pods)
        written = two.deployment()["metadata"]["resourceVersion"]
        leader.process.send_signal(signal.SIGCONT)
        assert leader.process.wait(BOUND) == 0
        assert "another watchdog may lead" in leader.said()
        assert two.deployment()["metadata"]["resourceVersion"] == written
        assert two.pods() == pods


def test_the_rights_are_enough_for_a_whole_life_and_for_nothing_beside_it(plane: Cluster, tmp_path: Path) -> None:
    with pair(plane, tmp_path, "rights") as two:
        first = two.pods()
        done = two.leader.run("restart", "time", "--no-wait")
        assert done.returncode == 0, done.stderr
        until(lambda: two.pods() and not set(two.pods()) & set(first))
        assert "forbidden" not in two.leader.said()
        for verb, group, resource, name in (
            ("list", "", "secrets", ""),
            ("delete", "apps", "deployments", "another"),
            ("create", "", "pods", ""),
            ("update", "coordination.k8s.io", "leases", "another"),
            ("create", "", "pods/exec", ""),
        ):
            assert not _may(two, verb, group, resource, name), (verb, resource)
        assert _may(two, "patch", "apps", "deployments", "mcp-time")


def _may(two: Pair, verb: str, group: str, resource: str, name: str) -> bool:
    """What the API server itself says of the service account's rights."""
    plural, _, sub = resource.partition("/")
    asked = {"namespace": two.namespace, "verb": verb, "group": group, "resource": plural, "subresource": sub, "name": name}
    user = f"system:serviceaccount:{two.namespace}:mcpwatch"
    spec = {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": asked}
    body: Raw = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return bool(two.plane.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)["status"]["allowed"])
