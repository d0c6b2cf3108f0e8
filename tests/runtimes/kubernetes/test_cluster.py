"""Members on a real control plane: the real API server, controllers and scheduler; kwok plays nodes and kubelets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Appeared, Exited, Fence, Hindered
from mcpwatch.runtimes.kubernetes.runtime import KubernetesRuntime
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec
from tests.parts import ROOT
from tests.runtimes.kubernetes.cluster import Cluster, Raw, cluster
from tests.runtimes.kubernetes.lab import Told

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.needs("kubernetes"),
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.timeout(300),
]
BOUND = 120.0


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    with cluster(tmp_path_factory.mktemp("plane")) as made:
        yield made


@dataclass
class Bench(Told):
    """A namespace of its own, a runtime, and what it told."""

    bound: ClassVar[float] = BOUND
    plane: Cluster
    namespace: str
    kubeconfig: str

    def spec(self, name: str = "time", *, start_grace: float = 100.0, **carrier: Any) -> MemberSpec:
        """A member with image `x`, unless something else is written."""
        origin: Raw = {} if "deployment" in carrier else {"image": "x", "namespace": self.namespace}
        made = KubernetesSpec.model_validate({"kubeconfig": self.kubeconfig, "logs": False, **origin, **carrier})
        return MemberSpec(name, "server", "kubernetes", made, "f1", start_grace=start_grace)

    async def start(self, spec: MemberSpec, generation: int = 1) -> str:
        """Start it; returns the name of its pod."""
        async with asyncio.timeout(BOUND):
            return (await self.runtime.start(spec, generation)).container or ""

    def path(self, kind: str, name: str) -> str:
        """Where an object of this namespace is."""
        group = "/apis/apps/v1" if kind in {"deployments", "statefulsets"} else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}/{name}"

    def get(self, kind: str, name: str) -> Raw:
        """An object of this namespace."""
        return self.plane.call("GET", self.path(kind, name))

    def play(self, pod: str, state: Raw, *, ready: bool = False, **more: Any) -> None:
        """What the kubelet would say of the pod's container."""
        one = {"name": "server", "image": "x", "imageID": "", "ready": ready, "restartCount": 0, "state": state, **more}
        word = "True" if ready else "False"
        conditions = [{"type": kind, "status": word} for kind in ("Ready", "ContainersReady")]
        self.plane.status(self.path("pods", pod), {"containerStatuses": [one], "conditions": conditions})

    async def cause(self, name: str) -> str:
        """The words with which a cause of that name is told."""
        return (await self.event(Hindered, lambda found: found.cause == name)).text


@asynccontextmanager
async def bench(
    plane: Cluster, directory: Path, namespace: str, *, labels: Raw | None = None, fence: Fence | None = None, kubeconfig: str = ""
) -> AsyncGenerator[Bench]:
    if labels is not None:
        await asyncio.to_thread(plane.namespace, namespace, labels)
    runtime = KubernetesRuntime(directory, "0123456789ab")
    if fence is not None:
        runtime.fence = fence
    made = Bench(plane, namespace, kubeconfig or str(plane.kubeconfig), runtime=runtime)
    task = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        task.cancel()
        await runtime.close()


async def test_a_member_is_applied_rolled_adopted_and_stopped(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path / "a", "life", labels={}) as one:
        spec = one.spec(config={"path": "/etc/x", "files": {"a.yaml": "a: 1"}}, secrets={"path": "/run/x", "files": {"token": "t"}})
        first = await one.start(spec)
        assert one.get("services", "mcp-time")["spec"]["ports"][0]["port"] == 8080
        assert one.get("configmaps", "mcp-time")["data"] == {"a.yaml": "a: 1"}
        await one.runtime.release(spec)
        second = await one.start(spec, 2)
        assert second != first
        async with bench(plane, tmp_path / "b", "life") as other:
            (found,) = await other.runtime.owned([spec])
            assert (found.container, found.generation) == (second, 2)
        async with asyncio.timeout(BOUND):
            await one.runtime.stop(spec, 1.0)
        assert plane.call("GET", "/api/v1/namespaces/life/pods")["items"] == []
        assert not any(isinstance(told, Exited) for told in one.told)


async def test_a_member_with_a_volume_is_a_stateful_set(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "volume", labels={}) as one:
        start = asyncio.create_task(one.start(one.spec(volume={"path": "/data", "storage_class": "none-such"})))
        assert "unbound immediate PersistentVolumeClaims" in await one.cause("unschedulable")
        claim = one.get("persistentvolumeclaims", "data-mcp-time-0")
        assert claim["spec"]["storageClassName"] == "none-such"
        start.cancel()


async def test_what_others_set_stays_and_what_both_want_is_refused(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "fields", labels={}) as one:
        await one.start(one.spec())
        head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mcp-time", "annotations": {"team": "search"}}}
        plane.apply(one.path("deployments", "mcp-time"), head)
        await one.start(one.spec(), 2)
        assert one.get("deployments", "mcp-time")["metadata"]["annotations"]["team"] == "search"
        plane.apply(one.path("deployments", "mcp-time"), {**head, "spec": {"replicas": 3}})
        with pytest.raises(RuntimeFailed, match=r'somebody else manages a field .* conflict with "test"') as failed:
            await one.start(one.spec(), 3)
        assert failed.value.permanent


@pytest.mark.parametrize(
    ("cause", "state", "more", "words"),
    [
        (
            "crash_loop",
            {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
            {"restartCount": 3, "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no token"}}},
            "back-off 10s restarting failed container; exit code 3: no token",
        ),
        (
            "member_oom",
            {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            {"restartCount": 1, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            "OOMKilled, exit code 137",
        ),
        (
            "config",
            {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "pg" not found'}},
            {},
            'secret "pg" not found',
        ),
    ],
)
async def test_what_a_kubelet_says_of_a_container_is_an_end_and_a_cause(
    plane: Cluster, tmp_path: Path, cause: str, state: Raw, more: Raw, words: str
) -> None:
    async with bench(plane, tmp_path, f"says-{cause.replace('_', '-')}", labels={}) as one:
        pod = await one.start(one.spec())
        await asyncio.to_thread(lambda: one.play(pod, state, **more))
        assert words in await one.cause(cause)
        assert (await one.event(Exited)).generation == 1
        again = {"running": {"startedAt": "2026-11-29T15:10:00Z"}}
        await asyncio.to_thread(lambda: one.play(pod, again, ready=True, restartCount=4, containerID="fake://again"))
        assert (await one.event(Appeared)).container == pod


async def test_an_evicted_pod_is_told_with_the_reason_and_its_successor_appears(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "evicted", labels={}) as one:
        pod = await one.start(one.spec())
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "evicted"}}
        plane.call("POST", f"{one.path('pods', pod)}/eviction", body)
        await one.event(Exited)
        assert (await one.event(Appeared)).container != pod


async def test_the_scheduler_says_why_no_node_fits(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "nowhere", labels={}) as one:
        with pytest.raises(
            RuntimeFailed, match=r"no node takes its pod: .* node.s. didn't match Pod's node affinity/selector"
        ) as failed:
            await one.start(one.spec(node_selector={"disk": "none-such"}, start_grace=10.0))
        assert failed.value.permanent
        assert one.get("deployments", "mcp-time")["spec"]["replicas"] == 1


async def test_a_quota_is_named(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "small", labels={}) as one:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        plane.call("POST", "/api/v1/namespaces/small/resourcequotas", quota)
        start = asyncio.create_task(one.start(one.spec()))
        assert "exceeded quota: none" in await one.cause("quota")
        start.cancel()


async def test_a_policy_that_refuses_the_pod_is_named(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "strict", labels={"pod-security.kubernetes.io/enforce": "restricted"}) as one:
        start = asyncio.create_task(one.start(one.spec(user=0)))
        assert 'violates PodSecurity "restricted' in await one.cause("admission")
        start.cancel()
        fits = one.spec("fetch")
        assert await one.start(fits)


def test_the_manifests_of_deploy_are_accepted_as_they_are(plane: Cluster) -> None:
    plane.namespace("mcpwatch", {"pod-security.kubernetes.io/enforce": "restricted"})
    accepted: list[str] = []
    for name in ("account", "rights", "deployment", "service", "network-policy"):
        for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8")):
            group = f"apis/{one['apiVersion']}" if "/" in one["apiVersion"] else "api/v1"
            plural = f"{one['kind'].lower()}s".replace("ys", "ies")
            plane.call("POST", f"/{group}/namespaces/mcpwatch/{plural}?dryRun=All&fieldValidation=Strict", one)
            accepted.append(one["kind"])
    assert accepted == ["ServiceAccount", "Role", "RoleBinding", "Deployment", "Service", "NetworkPolicy", "NetworkPolicy"]


async def test_a_former_leader_that_wakes_up_changes_nothing_and_the_next_one_restarts_no_pod(
    plane: Cluster, tmp_path: Path
) -> None:
    @dataclass
    class Term:
        term: int

        def holds(self) -> bool:
            return True  # as a process that was paused between its look at the lease and its write believes

    async with bench(plane, tmp_path / "a", "lead", labels={}, fence=Term(1)) as old:
        pod = await old.start(old.spec())
        async with bench(plane, tmp_path / "b", "lead", fence=Term(2)) as new:
            (found,) = await new.runtime.owned([new.spec()])
            assert found.container == pod
            await old.runtime.release(old.spec())
            with pytest.raises(RuntimeFailed, match=r"another watchdog leads this fleet \(term 2\)"):
                await old.start(old.spec(), 2)
            assert not any(isinstance(told, Exited) for told in new.told)
        assert old.get("deployments", "mcp-time")["metadata"]["annotations"]["mcpwatch.dev/term"] == "2"
        assert old.get("pods", pod)["status"]["phase"] == "Running"
