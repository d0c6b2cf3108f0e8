"""Each state of a pod has one named cause, in the cluster's own words."""

from __future__ import annotations

from typing import Any

import pytest

from mcpwatch.runtimes.kubernetes.causes import CAUSES, member_cause, read_event, refusal, workload_cause
from mcpwatch.runtimes.kubernetes.pod import moment, read_pod
from tests.runtimes.kubernetes.shapes import Raw, event, pod, running, terminated, waiting

QUOTA = 'pods "mcp-time-1" is forbidden: exceeded quota: small, requested: memory=1Gi, used: memory=1Gi, limited: memory=1Gi'
SECURITY = 'pods "mcp-time-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
NO_NODE = "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {x: y}."
BACK_OFF = "back-off 5m0s restarting failed container=server pod=mcp-time-1"


def _unscheduled(message: str = NO_NODE) -> Raw:
    found = pod(
        phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    )
    found["spec"] = {}
    return found


def _silent_node() -> Raw:
    """What the node controller makes of a pod on a node that no longer reports: only the condition changes."""
    status = running()
    status["conditions"] = [{"type": "Ready", "status": "False"}]
    return pod(**status)


def _disrupted(reason: str, message: str) -> Raw:
    found = pod(**running())
    found["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]
    return found


TABLE: list[tuple[str, Raw, list[Raw], str, str]] = [
    ("crash loop", pod(**waiting("CrashLoopBackOff", BACK_OFF, lastState=terminated(code=3, message="no token"))), [],
     "crash_loop", "back-off 5m0s restarting failed container=server pod=mcp-time-1; exit code 3: no token"),
    ("image that is not there", pod(**waiting("ErrImagePull", "not found")), [], "image_pull", "ErrImagePull: not found"),
    ("image that is tried again", pod(**waiting("ImagePullBackOff", "Back-off pulling image")),
     [event("Pod/mcp-time-1", "Failed", 'Failed to pull image "x": 401 unauthorized'),
      event("Pod/mcp-time-1", "Failed", "Error: ImagePullBackOff", at="2026-11-29T15:02:09Z")],
     "image_pull", 'ImagePullBackOff: Failed to pull image "x": 401 unauthorized'),
    ("name that is no image", pod(**waiting("InvalidImageName", "bad")), [], "image_pull", "InvalidImageName: bad"),
    ("missing secret", pod(**waiting("CreateContainerConfigError", 'secret "pg" not found')), [],
     "config", 'CreateContainerConfigError: secret "pg" not found'),
    ("out of memory", pod(**waiting("CrashLoopBackOff", BACK_OFF, lastState=terminated("OOMKilled", 137))), [],
     "member_oom", "OOMKilled, exit code 137"),
    ("evicted", pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."), [],
     "evicted", "The node was low on resource: memory."),
    ("drained", _disrupted("EvictionByEvictionAPI", "evicting"), [], "evicted", "EvictionByEvictionAPI: evicting"),
    ("taken from a dead node", _disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"), [],
     "node_not_ready", "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint"),
    ("no node fits", _unscheduled(), [], "unschedulable", NO_NODE),
    ("node that does not report", _silent_node(), [event("Pod/mcp-time-1", "NodeNotReady", "Node is not ready")],
     "node_not_ready", "Node is not ready"),
    ("node that does not report, event gone", _silent_node(), [], "node_not_ready", "node node-1 does not report"),
    ("volume", pod(**waiting("ContainerCreating")), [event("Pod/mcp-time-1", "FailedMount", "MountVolume.SetUp failed")],
     "volume", "MountVolume.SetUp failed"),
    ("probe", pod(**running(ready=False)), [event("Pod/mcp-time-1", "Unhealthy", "Readiness probe failed: refused")],
     "not_ready", "Readiness probe failed: refused"),
    ("ended", pod(phase="Running", containerStatuses=[{"name": "server", "state": terminated(code=2, message="a\nbad flag")}]), [],
     "ended", "exit code 2: bad flag"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "events", "name", "said"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_state_of_a_pod_has_its_cause_and_the_clusters_words(raw: Raw, events: list[Raw], name: str, said: str) -> None:
    cause = member_cause(None, [read_pod(raw)], [read_event(one) for one in events])
    assert cause is not None
    assert (cause.name, cause.said) == (name, said)
    assert cause.text == CAUSES[name]


@pytest.mark.parametrize("raw", [pod(**running()), pod(**waiting("ContainerCreating")), pod(**waiting("PodInitializing"))])
def test_a_pod_that_runs_or_is_being_made_has_no_cause(raw: Raw) -> None:
    assert member_cause(None, [read_pod(raw)], []) is None


@pytest.mark.parametrize(
    ("message", "name"), [(QUOTA, "quota"), (SECURITY, "admission"), ("admission webhook denied it", "admission")]
)
def test_a_workload_without_pods_tells_why_none_is_made(message: str, name: str) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    deployment: Raw = {"metadata": {"name": "mcp-time"}, "status": {"conditions": [condition]}}
    cause = member_cause(deployment, [], [])
    assert cause is not None
    assert (cause.name, cause.said) == (name, message)
    stateful: Raw = {"metadata": {"name": "mcp-time"}}
    told = workload_cause(stateful, [read_event(event("StatefulSet/mcp-time", "FailedCreate", message))])
    assert told is not None
    assert told.name == name
    assert workload_cause(stateful, [read_event(event("ReplicaSet/mcp-time-other-5d", "FailedCreate", message))]) is None


@pytest.mark.parametrize(
    ("status", "message", "name"),
    [
        (403, QUOTA, "quota"),
        (403, SECURITY, "admission"),
        (422, "Deployment.apps is invalid: spec", "config"),
        (403, "no right", None),
    ],
)
def test_what_the_api_server_refuses_at_once_is_named_too(status: int, message: str, name: str | None) -> None:
    cause = refusal(status, message)
    assert (cause.name if cause else None) == name


def test_an_old_rollout_and_a_pod_that_goes_say_nothing_of_the_present_one() -> None:
    old = read_pod(pod("old", generation=1, **waiting("ErrImagePull", "old")))
    raw = pod("new", generation=2, **running())
    assert member_cause(None, [old, read_pod(raw)], []) is None


def test_the_words_of_the_cluster_are_one_line_of_bounded_length() -> None:
    cause = member_cause(None, [read_pod(_unscheduled("a\n" * 5000))], [])
    assert cause is not None
    assert len(cause.said) == 400
    assert "\n" not in cause.said


@pytest.mark.parametrize("value", ["2026-11-29T15:00:00Z", "2026-11-29T15:00:00.000000Z", "2026-11-29T16:00:00+01:00"])
def test_times_of_the_api_are_read_in_each_of_their_forms(value: str) -> None:
    assert moment(value) == 1795964400.0


HOLES: list[dict[str, Any]] = [
    {},
    {"status": None},
    {"status": {"containerStatuses": [{}]}},
    {"status": {"conditions": "x"}},
    {"metadata": {"creationTimestamp": 5, "annotations": {"mcpwatch.dev/generation": "x"}}},
]


@pytest.mark.parametrize("raw", HOLES)
def test_an_object_with_holes_is_a_pod_of_which_nothing_is_known(raw: dict[str, Any]) -> None:
    found = read_pod(raw)
    assert not found.running
    assert member_cause(None, [found], []) is None
