"""Members on a real control plane: the real API server, controllers and scheduler; kwok plays nodes and kubelets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited
from tests.runtimes.kubernetes.cluster import Cluster, Raw
from tests.runtimes.kubernetes.plane import BOUND, MARKS, bench

pytestmark = [*MARKS, pytest.mark.anyio]


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
