"""Members on a cluster: applied, followed, rolled, scaled down, adopted; against an API server as its pages describe it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Hindered
from tests.runtimes.kubernetes.lab import BOUND, Lab, lab
from tests.runtimes.kubernetes.shapes import event, running, terminated, waiting

pytestmark = pytest.mark.anyio

PODS = "/api/v1/namespaces/mcp/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/mcp/deployments"


async def _started(one: Lab) -> None:
    """The member `time`, generation 1, whose pod runs."""
    start = asyncio.create_task(one.runtime.start(one.spec(), 1))
    await one.until(lambda: f"{DEPLOYMENTS}/mcp-time" in one.server.objects)
    one.play_pod()
    async with asyncio.timeout(BOUND):
        assert (await start).container == "mcp-time-1"


async def test_a_member_is_applied_and_lives_when_a_pod_of_it_runs(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        made = one.deployment()
        assert made["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mcpwatch"
        assert one.server.count("PATCH", "fieldManager=mcpwatch") == 2
        assert "/api/v1/namespaces/mcp/services/mcp-time" in one.server.objects


async def test_an_end_and_the_kubelets_restart_are_told_once_each(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        one.server.change(
            f"{PODS}/mcp-time-1", **waiting("CrashLoopBackOff", "back-off 10s", lastState=terminated("OOMKilled", 137))
        )
        ended = await one.event(Exited)
        assert (ended.generation, ended.code, ended.signal, ended.oom) == (1, 137, 9, True)
        assert (await one.event(Hindered, lambda found: found.cause == "member_oom")).text.endswith("OOMKilled, exit code 137")
        one.server.change(f"{PODS}/mcp-time-1", **running("containerd://b", restarts=1))
        assert (await one.event(Appeared)).container == "mcp-time-1"
        await one.event(Hindered, lambda found: found.cause == "")
        assert sum(isinstance(told, Exited) for told in one.told) == 1


async def test_a_start_that_finds_no_node_says_so_in_the_clusters_words_and_is_left_alone(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        start = asyncio.create_task(one.runtime.start(one.spec(start_grace=1.0), 1))
        await one.until(lambda: f"{DEPLOYMENTS}/mcp-time" in one.server.objects)
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
        path = one.play_pod(status={"phase": "Pending", "conditions": [condition]})
        raw = one.server.objects[path]
        one.server.put(path, {**raw, "spec": {}})
        assert (await one.event(Hindered)).cause == "unschedulable"
        with pytest.raises(RuntimeFailed, match="no node takes its pod: 0/3 nodes are available") as failed:
            await start
        assert failed.value.permanent
        assert one.deployment()["spec"]["replicas"] == 1
        one.server.put(path, {**raw, "status": running()})
        assert (await one.event(Appeared)).container == "mcp-time-1"


async def test_a_restart_is_a_rollout_whose_old_pod_is_told_of_no_more(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        await one.runtime.release(one.spec())
        start = asyncio.create_task(one.runtime.start(one.spec(), 2))
        await one.until(lambda: one.deployment()["spec"]["template"]["metadata"]["annotations"]["mcpwatch.dev/generation"] == "2")
        one.play_pod("mcp-time-2", generation=2)
        async with asyncio.timeout(BOUND):
            assert (await start).container == "mcp-time-2"
        one.server.remove(f"{PODS}/mcp-time-1")
        one.server.change(f"{PODS}/mcp-time-2", **waiting("CrashLoopBackOff", lastState=terminated(code=3)))
        assert (await one.event(Exited)).generation == 2
        assert sum(isinstance(told, Exited) for told in one.told) == 1


async def test_a_start_after_an_end_rolls_nothing(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        one.server.change(f"{PODS}/mcp-time-1", **waiting("CrashLoopBackOff", lastState=terminated()))
        await one.event(Exited)
        start = asyncio.create_task(one.runtime.start(one.spec(), 2))
        await one.until(lambda: one.server.count("PATCH", "deployments/mcp-time") == 2)
        one.server.change(f"{PODS}/mcp-time-1", **running("containerd://b", restarts=1))
        async with asyncio.timeout(BOUND):
            assert (await start).generation == 2
        assert one.deployment()["spec"]["template"]["metadata"]["annotations"]["mcpwatch.dev/generation"] == "1"


async def test_a_stop_scales_to_nothing_and_keeps_the_workload(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        stop = asyncio.create_task(one.runtime.stop(one.spec(), 5.0))
        await one.until(lambda: one.deployment()["spec"]["replicas"] == 0)
        assert not stop.done()
        one.server.remove(f"{PODS}/mcp-time-1")
        async with asyncio.timeout(BOUND):
            await stop
        assert not any(isinstance(told, Exited) for told in one.told)


async def test_the_next_watchdog_adopts_what_runs_and_writes_nothing(tmp_path: Path) -> None:
    async with lab(tmp_path / "a") as one:
        await _started(one)
        writes = one.server.count("PATCH", "")
        async with lab(tmp_path / "b", server=one.server) as other:
            (found,) = await other.runtime.owned([other.spec()])
            assert (found.member, found.generation, found.fingerprint, found.container) == ("time", 1, "f1", "mcp-time-1")
        assert one.server.count("PATCH", "") == writes


async def test_each_of_several_members_is_adopted_also_beside_one_that_cannot_be_asked_for(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(20)]
    async with lab(tmp_path / "a") as one:
        starts = [asyncio.create_task(one.runtime.start(one.spec(name), 1)) for name in names]
        await one.until(lambda: all(f"{DEPLOYMENTS}/mcp-{name}" in one.server.objects for name in names))
        for name in names:
            one.play_pod(f"mcp-{name}-1", member=name)
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*starts)
        one.server.refuse["GET", f"{DEPLOYMENTS}/mcp-m7"] = (500, "etcdserver: request timed out")
        async with lab(tmp_path / "b", server=one.server) as other:
            found = await other.runtime.owned([other.spec(name) for name in names])
            assert [adopted.member for adopted in found] == [name for name in names if name != "m7"]


async def test_a_workload_of_a_member_that_nobody_wants_any_more_is_removed_and_no_other(tmp_path: Path) -> None:
    async with lab(tmp_path / "a") as one:
        await _started(one)
        one.server.put(f"{DEPLOYMENTS}/foreign", {"metadata": {"labels": {"app": "x"}}})
        async with lab(tmp_path / "b", server=one.server) as other:
            assert await other.runtime.owned([other.spec("fetch")]) == ()
            assert set(one.server.objects) & {f"{DEPLOYMENTS}/mcp-time", f"{DEPLOYMENTS}/foreign"} == {f"{DEPLOYMENTS}/foreign"}


async def test_a_workload_of_somebody_else_with_our_name_is_refused(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        one.server.put(f"{DEPLOYMENTS}/mcp-time", {"metadata": {"labels": {"app": "x"}}})
        with pytest.raises(RuntimeFailed, match="Deployment mcp/mcp-time is not ours") as failed:
            await one.runtime.start(one.spec(), 1)
        assert failed.value.permanent
        assert one.server.count("PATCH", "") == 0


async def test_a_workload_of_others_is_watched_restarted_by_name_and_never_stopped(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        spec = one.spec(deployment="mcp/web")
        labels = {"app": "web"}
        one.server.put(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 1, "selector": {"matchLabels": labels}}})

        def play(name: str) -> None:
            one.server.put(f"{PODS}/{name}", {"metadata": {"labels": labels}, "status": running(f"containerd://{name}")})

        play("web-1")
        async with asyncio.timeout(BOUND):
            assert (await one.runtime.start(spec, 1)).container == "web-1"
        assert one.server.count("PATCH", "") == 0
        await one.runtime.stop(spec, 1.0)
        start = asyncio.create_task(one.runtime.start(spec, 2))
        await one.until(lambda: "template" in one.server.objects[f"{DEPLOYMENTS}/web"]["spec"])
        annotations = one.server.objects[f"{DEPLOYMENTS}/web"]["spec"]["template"]["metadata"]["annotations"]
        assert list(annotations) == ["kubectl.kubernetes.io/restartedAt"]
        play("web-2")
        async with asyncio.timeout(BOUND):
            assert (await start).container == "web-2"


async def test_a_forgotten_resource_version_is_answered_by_one_more_list(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        one.server.bookmark()
        lists = one.server.count("GET", "pods?limit")
        one.server.expire()
        await one.until(lambda: one.server.count("GET", "pods?limit") == lists + 1)
        one.server.change(f"{PODS}/mcp-time-1", **waiting("CrashLoopBackOff", lastState=terminated()))
        await one.event(Exited)


async def test_a_cluster_that_goes_away_ends_no_member(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        one.server.close()
        gone = await one.event(Gone)
        assert not gone.back
        assert not any(isinstance(told, Exited) for told in one.told)


async def test_a_refusal_by_a_quota_is_named_and_permanent(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        message = 'deployments.apps "mcp-time" is forbidden: exceeded quota: count'
        one.server.refuse["PATCH", f"{DEPLOYMENTS}/mcp-time"] = (403, message)
        with pytest.raises(RuntimeFailed, match=r"a quota of the namespace forbids its pod: .* exceeded quota: count") as failed:
            await one.runtime.start(one.spec(), 1)
        assert failed.value.permanent


async def test_a_workload_that_makes_no_pod_tells_why(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        start = asyncio.create_task(one.runtime.start(one.spec(), 1))
        await one.until(lambda: f"{DEPLOYMENTS}/mcp-time" in one.server.objects)
        words = 'pods "mcp-time-1" is forbidden: violates PodSecurity "restricted:latest"'
        raw = event("ReplicaSet/mcp-time-5d8f", "FailedCreate", words)
        one.server.put("/api/v1/namespaces/mcp/events/e1", raw)
        assert (await one.event(Hindered, lambda found: found.cause == "admission")).text.endswith(words)
        start.cancel()


async def test_the_output_of_pods_is_in_the_members_log_once_with_the_nodes_stamps(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        one.server.logs[f"{PODS}/mcp-time-1"] = ["2026-11-29T15:00:06.000000001Z ready", "2026-11-29T15:00:07Z served"]
        await _started(one)
        path = tmp_path / "logs" / "time" / "stdout.log"
        await one.until(lambda: path.exists() and path.read_text().count("\n") == 2)
        assert path.read_text().splitlines() == ["2026-11-29T15:00:06.000000Z ready", "2026-11-29T15:00:07.000000Z served"]
        async with lab(tmp_path, server=one.server) as other:
            one.server.logs[f"{PODS}/mcp-time-1"].append("2026-11-29T15:00:08Z more")
            await other.runtime.owned([other.spec()])
            await one.until(lambda: path.read_text().count("\n") == 3)
            assert path.read_text().splitlines()[-1].endswith("more")


@dataclass
class Term:
    """A fence that the test opens and shuts."""

    term: int = 1
    mine: bool = True

    def holds(self) -> bool:
        return self.mine


async def test_a_watchdog_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    fence = Term(mine=False)
    async with lab(tmp_path, fence=fence) as one:
        with pytest.raises(RuntimeFailed, match="another watchdog leads this fleet"):
            await one.runtime.start(one.spec(), 1)
        assert one.server.count("PATCH", "") == 0


async def test_a_former_leader_that_was_paused_between_its_look_and_its_write_changes_nothing(tmp_path: Path) -> None:
    async with lab(tmp_path / "a", fence=Term(1)) as old:
        await _started(old)
        go_on = threading.Event()
        old.server.before_write.append(go_on)
        await old.runtime.release(old.spec())
        paused = asyncio.create_task(old.runtime.start(old.spec(), 2))
        await old.until(old.server.waiting.is_set)
        async with lab(tmp_path / "b", fence=Term(2), server=old.server) as new:
            (found,) = await new.runtime.owned([new.spec()])
            assert found.container == "mcp-time-1"
            go_on.set()
            with pytest.raises(RuntimeFailed, match=r"another watchdog leads this fleet \(term 2\)"):
                await paused
        assert old.deployment()["spec"]["template"]["metadata"]["annotations"]["mcpwatch.dev/generation"] == "1"
