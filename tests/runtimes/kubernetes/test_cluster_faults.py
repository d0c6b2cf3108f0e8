"""Every cause that a cluster has for a member that does not run, on the real API server; kwok's stages play kubelets and nodes.

Each is named in the cluster's own words. What the cluster repairs is left to it: nothing is written. What it cannot repair is
told, and goes on when its cause is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Hindered
from tests.runtimes.kubernetes.cluster import Cluster, Raw
from tests.runtimes.kubernetes.plane import BOUND, MARKS, Bench, bench
from tests.runtimes.kubernetes.stages import CONFIG, LOW, MOUNT, NO_IMAGE, NO_MOUNT, NO_SECRET, PULL

pytestmark = [*MARKS, pytest.mark.anyio]


def written(one: Bench, name: str = "mcp-time") -> int:
    """How often somebody changed what its workload wants."""
    return int(one.get("deployments", name)["metadata"]["generation"])


def annotate(one: Bench, pod: str, fault: str) -> None:
    """What happens to a pod from now on."""
    one.plane.annotate(one.path("pods", pod), fault=fault)


async def over(one: Bench, cause: str) -> None:
    """Return when nothing is told to be wrong any more, after that cause."""
    told = next(at for at, event in enumerate(one.told) if isinstance(event, Hindered) and event.cause == cause)
    await one.event(Hindered, lambda found: not found.cause and found in one.told[told:])


@pytest.mark.parametrize(
    ("fault", "cause", "words", "code"),
    [
        ("crash", "crash_loop", "back-off 10s restarting failed container=server; exit code 3: no token", 3),
        ("oom", "member_oom", "OOMKilled, exit code 137", 137),
    ],
)
async def test_a_container_that_the_kubelet_pauses_to_restart_is_named_and_left_to_it(
    plane: Cluster, tmp_path: Path, fault: str, cause: str, words: str, code: int
) -> None:
    async with bench(plane, tmp_path, f"ends-{fault}", labels={}) as one:
        pod = await one.start(one.spec())
        before = written(one)
        annotate(one, pod, fault)
        assert (await one.cause(cause)).endswith(words)
        ended = await one.event(Exited)
        assert (ended.generation, ended.code, ended.oom) == (1, code, fault == "oom")
        annotate(one, pod, "healed")
        assert (await one.event(Appeared)).container == pod
        await over(one, cause)
        assert written(one) == before
        assert sum(isinstance(event, Exited) for event in one.told) == 1


@pytest.mark.parametrize(
    ("image", "cause", "words"),
    [
        (PULL, "image_pull", f"ImagePullBackOff: {NO_IMAGE}"),
        (CONFIG, "config", f"CreateContainerConfigError: {NO_SECRET}"),
        (MOUNT, "volume", NO_MOUNT),
    ],
)
async def test_a_container_that_cannot_begin_is_named_and_runs_as_soon_as_its_member_is_corrected(
    plane: Cluster, tmp_path: Path, image: str, cause: str, words: str
) -> None:
    async with bench(plane, tmp_path, f"begins-{cause.replace('_', '-')}", labels={}) as one:
        with pytest.raises(RuntimeFailed) as failed:
            await one.start(one.spec(image=image, start_grace=20.0))
        assert str(failed.value).endswith(words)
        assert failed.value.permanent  # the cluster goes on trying by itself; one more start would not help it
        assert (await one.event(Hindered, lambda found: found.text.endswith(words))).cause == cause
        await one.start(one.spec(fingerprint="f2"), 2)
        await over(one, cause)


async def test_a_pod_that_its_node_evicts_is_named_with_the_nodes_words_and_its_successor_is_taken_over(
    plane: Cluster, tmp_path: Path
) -> None:
    async with bench(plane, tmp_path, "low-memory", labels={}) as one:
        pod = await one.start(one.spec())
        before = written(one)
        annotate(one, pod, "evict")
        assert (await one.event(Exited)).detail == f"Evicted: {LOW}"
        assert (await one.event(Appeared)).container != pod
        assert written(one) == before


async def test_a_member_that_no_node_takes_runs_without_another_start_when_a_node_fits(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "no-disk", labels={}) as one:
        with pytest.raises(RuntimeFailed, match=r"no node takes its pod: .*didn't match Pod's node affinity/selector"):
            await one.start(one.spec(node_selector={"disk": "tape"}, start_grace=8.0))
        before = written(one)
        plane.node("node-tape", disk="tape")
        await one.event(Appeared)
        await over(one, "unschedulable")
        assert written(one) == before


async def test_a_quota_is_named_and_left_to_whoever_keeps_it(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "tight", labels={}) as one:
        quota: Raw = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
        path = "/api/v1/namespaces/tight/resourcequotas"
        plane.call("POST", path, quota)
        start = asyncio.create_task(one.start(one.spec()))
        assert "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0" in await one.cause("quota")
        before = written(one)
        plane.call("DELETE", f"{path}/few")
        assert await start
        await over(one, "quota")
        assert written(one) == before


async def test_a_policy_that_refuses_the_workload_is_named_and_the_next_start_goes_through_without_it(
    plane: Cluster, tmp_path: Path
) -> None:
    async with bench(plane, tmp_path, "policed", labels={"policed": "yes"}) as one:
        await asyncio.to_thread(_forbid, plane)
        with pytest.raises(RuntimeFailed, match=r"the cluster refuses its pod: .*denied request: images need an owner") as failed:
            await _refused(one)
        assert failed.value.permanent
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            plane.call("DELETE", f"/apis/admissionregistration.k8s.io/v1/{kind}/owner")
        await _taken(one)


def _forbid(plane: Cluster) -> None:
    """A policy of the cluster against every workload of namespaces with the label `policed`."""
    group = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}
    policy: Raw = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "has(object.metadata.labels.owner)", "message": "images need an owner"}],
    }
    chosen = {"namespaceSelector": {"matchLabels": {"policed": "yes"}}}
    binding: Raw = {"policyName": "owner", "validationActions": ["Deny"], "matchResources": chosen}
    for kind, plural, spec in (
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", policy),
        ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", binding),
    ):
        plane.call(
            "POST", f"/apis/{group}/{plural}", {"apiVersion": group, "kind": kind, "metadata": {"name": "owner"}, "spec": spec}
        )


async def _taken(one: Bench) -> None:
    """Start it until the API server has heard that the policy is gone."""
    async with asyncio.timeout(BOUND):
        while True:
            with contextlib.suppress(RuntimeFailed):
                await one.start(one.spec(), 2)
                return


async def _refused(one: Bench) -> None:
    """Start it until the policy, which takes effect a little later, refuses it."""
    async with asyncio.timeout(BOUND):
        while True:
            await one.start(one.spec())
            await one.runtime.stop(one.spec(), 1.0)


async def test_a_node_that_reports_no_more_is_named_and_a_short_while_of_it_moves_nothing(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "silent", labels={}) as one:
        await asyncio.to_thread(lambda: [plane.node(f"silent-{name}", zone="silent") for name in "ab"])
        pod = await one.start(one.spec(node_selector={"zone": "silent"}))
        node, before = str(one.get("pods", pod)["spec"]["nodeName"]), written(one)
        plane.annotate(f"/api/v1/nodes/{node}", fault="silent")
        await one.event(Hindered, lambda found: found.cause == "node_not_ready" and found.text.endswith("Node is not ready"))
        plane.annotate(f"/api/v1/nodes/{node}", fault="healed")
        annotate(one, pod, "ready")
        await over(one, "node_not_ready")
        assert one.get("pods", pod)["status"]["phase"] == "Running"
        assert written(one) == before
        assert not any(isinstance(event, Exited) for event in one.told)


async def test_a_node_that_stays_not_ready_loses_its_pod_to_another_one_with_the_clusters_words(
    plane: Cluster, tmp_path: Path
) -> None:
    async with bench(plane, tmp_path, "lasting", labels={}) as one:
        await asyncio.to_thread(lambda: [plane.node(f"lasting-{name}", zone="lasting") for name in "ab"])
        pod = await one.start(one.spec(node_selector={"zone": "lasting"}))
        node, before = str(one.get("pods", pod)["spec"]["nodeName"]), written(one)
        plane.annotate(f"/api/v1/nodes/{node}", fault="not-ready")
        await one.cause("node_not_ready")
        assert "Taint manager" in (await one.event(Exited)).detail
        successor = str((await one.event(Appeared)).container)
        assert one.get("pods", successor)["spec"]["nodeName"] != node
        await over(one, "node_not_ready")
        assert written(one) == before
        plane.annotate(f"/api/v1/nodes/{node}", fault="healed")


async def test_a_pod_that_somebody_removes_ends_once_and_its_successor_is_taken_over(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "removed", labels={}) as one:
        pod = await one.start(one.spec())
        plane.call("DELETE", one.path("pods", pod))
        ended = await one.event(Exited)
        assert pod in ended.detail
        assert (await one.event(Appeared)).container != pod
        assert sum(isinstance(event, Exited) for event in one.told) == 1


async def test_a_workload_that_somebody_removes_is_told_and_made_again_by_a_start(plane: Cluster, tmp_path: Path) -> None:
    async with bench(plane, tmp_path, "lost", labels={}) as one:
        await one.start(one.spec())
        plane.call("DELETE", one.path("deployments", "mcp-time"), {"propagationPolicy": "Background"})
        await one.event(Exited)
        assert await one.start(one.spec(), 2)
        assert written(one) == 1
