"""What kwok plays: nodes, and kubelets with the faults that a test asks for by a pod's image or annotation, or a node's."""

from __future__ import annotations

from typing import Any

import yaml

Raw = dict[str, Any]

FAULT = "test/fault"
"""Annotation: what happens to a running pod (`crash`, `oom`, `evict`, `ready`) or a node (`not-ready`, `silent`) until `healed`."""
PULL, CONFIG, MOUNT = "fault/pull:1", "fault/config:1", "fault/mount:1"
"""Images of containers that never run."""

LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 40Mi."
NO_IMAGE = 'Failed to pull image "fault/pull:1": rpc error: code = NotFound desc = no such manifest'
NO_SECRET = 'secret "pg" not found'
NO_MOUNT = 'MountVolume.SetUp failed for volume "config" : configmap "settings" not found'

NOW = "{{ Now | Quote }}"

_READY = f"""
conditions:
- {{type: Initialized, status: "True", lastTransitionTime: {NOW}}}
- {{type: Ready, status: "WORD", lastTransitionTime: {NOW}}}
- {{type: ContainersReady, status: "WORD", lastTransitionTime: {NOW}}}
"""
_ADDRESS = (
    '{{ PodIPWith .spec.nodeName false ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}'
)


def stages() -> str:
    """All of them, as kwok reads them."""
    made = [
        _node_ready(),
        _node_lives(),
        _node_fault("not-ready", "False"),
        _node_fault("healed", "True"),
        _runs(),
        _healed(),
        _ready_again(),
        _goes(),
    ]
    made += [_ends("crash", "Error", 3, "no token"), _ends("oom", "OOMKilled", 137, ""), _evicted()]
    made += [
        _waits("pull-1", PULL, "", "ErrImagePull", "no such manifest", ("Failed", NO_IMAGE)),
        _waits("pull-2", PULL, "ErrImagePull", "ImagePullBackOff", "Back-off pulling image", ("Failed", "Error: ErrImagePull")),
        _waits("config", CONFIG, "", "CreateContainerConfigError", NO_SECRET, ("Failed", f"Error: {NO_SECRET}")),
        _waits("mount", MOUNT, "", "ContainerCreating", "", ("FailedMount", NO_MOUNT)),
    ]
    return "---\n".join(yaml.safe_dump(one) for one in made)


def _stage(name: str, kind: str, when: dict[str, list[str] | bool], then: Raw, delay: int = 0) -> Raw:
    """A stage: `when` are expressions and their values, or whether they exist."""
    matches: list[Raw] = []
    for key, wanted in when.items():
        if isinstance(wanted, bool):
            matches.append({"key": key, "operator": "Exists" if wanted else "DoesNotExist"})
        else:
            matches.append({"key": key, "operator": "In", "values": wanted})
    spec: Raw = {"resourceRef": {"apiGroup": "v1", "kind": kind}, "selector": {"matchExpressions": matches}, "next": then}
    if delay:
        spec["delay"] = {"durationMilliseconds": delay}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _node_ready() -> Raw:
    status = f"""
allocatable: {{cpu: 32, memory: 64Gi, pods: 2000}}
capacity: {{cpu: 32, memory: 64Gi, pods: 2000}}
conditions:
- {{type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {NOW}, lastTransitionTime: {NOW}}}
"""
    return _stage("node-ready", "Node", {".status.conditions": False}, {"statusTemplate": status})


def _node_lives() -> Raw:
    """A node that is ready says so every four seconds, unless it is silent."""
    ready = 'select(.type == "Ready" and .status == "True") | .status'
    key = f'select(.metadata.annotations["{FAULT}"] != "silent") | .status.conditions[]? | {ready}'
    status = f'conditions:\n- {{type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {NOW}}}\n'
    return _stage("node-lives", "Node", {key: ["True"]}, {"statusTemplate": status}, delay=4000)


def _node_fault(fault: str, word: str) -> Raw:
    """The kubelet says that it is not ready, or that it is again."""
    before = ["True"] if word == "False" else ["False", "Unknown"]
    when: dict[str, list[str] | bool] = {
        f'.metadata.annotations["{FAULT}"]': [fault],
        '.status.conditions[]? | select(.type == "Ready") | .status': before,
    }
    status = f"""
conditions:
- {{type: Ready, status: "{word}", reason: Told, message: runtime is down, lastHeartbeatTime: {NOW}, lastTransitionTime: {NOW}}}
"""
    return _stage(f"node-{fault}", "Node", when, {"statusTemplate": status})


def _runs() -> Raw:
    """A pod of a node runs and is ready, unless it is marked `test/hold` or its image is a fault."""
    when: dict[str, list[str] | bool] = {
        ".metadata.deletionTimestamp": False,
        ".status.podIP": False,
        '.metadata.annotations["test/hold"]': False,
        '.spec.containers[] | select(.image | startswith("fault/")) | .image': False,
    }
    status = f"""{_READY.replace("WORD", "True")}
containerStatuses:
{{{{ range .spec.containers }}}}
- image: {{{{ .image | Quote }}}}
  name: {{{{ .name | Quote }}}}
  ready: true
  restartCount: 0
  containerID: {{{{ printf "fake://%s" .name | Quote }}}}
  state: {{running: {{startedAt: {NOW}}}}}
{{{{ end }}}}
phase: Running
startTime: {NOW}
podIP: {_ADDRESS}
"""
    return _stage("pod-runs", "Pod", when, {"statusTemplate": status})


def _container(state: str, *, ready: bool, restarts: int, more: str = "") -> str:
    word = "True" if ready else "False"
    return f"""{_READY.replace("WORD", word)}
containerStatuses:
- image: {{{{ (index .spec.containers 0).image | Quote }}}}
  name: {{{{ (index .spec.containers 0).name | Quote }}}}
  ready: {str(ready).lower()}
  restartCount: {restarts}
  state: {state}
{more}"""


def _ends(fault: str, reason: str, code: int, message: str) -> Raw:
    """Its container ended, and the kubelet pauses before it starts it again."""
    when: dict[str, list[str] | bool] = {
        f'.metadata.annotations["{FAULT}"]': [fault],
        ".status.containerStatuses[0].state.running": True,
    }
    how = f'exitCode: {code}, reason: {reason}, message: "{message}", finishedAt: {NOW}'
    ended = f"  lastState: {{terminated: {{{how}}}}}\n"
    waiting = '{waiting: {reason: CrashLoopBackOff, message: "back-off 10s restarting failed container=server"}}'
    event = {"type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container server"}
    status = _container(waiting, ready=False, restarts=1, more=ended)
    return _stage(f"pod-{fault}", "Pod", when, {"event": event, "statusTemplate": status})


def _healed() -> Raw:
    """The kubelet starts the container again, and it stays."""
    when: dict[str, list[str] | bool] = {
        f'.metadata.annotations["{FAULT}"]': ["healed"],
        ".status.containerStatuses[0].state.waiting": True,
    }
    status = _container(
        f"{{running: {{startedAt: {NOW}}}}}", ready=True, restarts=2, more='  containerID: "fake://healed"\nphase: Running\n'
    )
    return _stage("pod-healed", "Pod", when, {"statusTemplate": status})


def _ready_again() -> Raw:
    """The kubelet of a node that is back says that the pod is ready, which the node controller had denied."""
    when: dict[str, list[str] | bool] = {
        f'.metadata.annotations["{FAULT}"]': ["ready"],
        '.status.conditions[]? | select(.type == "Ready") | .status': ["False"],
    }
    return _stage("pod-ready", "Pod", when, {"statusTemplate": _READY.replace("WORD", "True")})


def _evicted() -> Raw:
    when: dict[str, list[str] | bool] = {f'.metadata.annotations["{FAULT}"]': ["evict"], ".status.phase": ["Running"]}
    event = {"type": "Warning", "reason": "Evicted", "message": LOW}
    status = f'phase: Failed\nreason: Evicted\nmessage: "{LOW}"\ncontainerStatuses: []\n{_READY.replace("WORD", "False")}'
    return _stage("pod-evicted", "Pod", when, {"event": event, "statusTemplate": status})


def _waits(name: str, image: str, before: str, reason: str, message: str, event: tuple[str, str]) -> Raw:
    """Its container does not begin: first nothing is known of it (`before` is empty), or it waited for another reason."""
    waiting = ".status.containerStatuses[0].state.waiting.reason"
    when: dict[str, list[str] | bool] = {
        ".metadata.deletionTimestamp": False,
        ".spec.nodeName": True,
        ".spec.containers[0].image": [image],
        waiting: [before] if before else False,
    }
    quoted = message.replace('"', '\\"')
    status = _container(f'{{waiting: {{reason: {reason}, message: "{quoted}"}}}}', ready=False, restarts=0, more="phase: Pending\n")
    told = {"type": "Warning", "reason": event[0], "message": event[1]}
    return _stage(f"pod-{name}", "Pod", when, {"event": told, "statusTemplate": status}, delay=300 if before else 0)


def _goes() -> Raw:
    then: Raw = {"delete": True, "finalizers": {"empty": True}}
    return _stage("pod-goes", "Pod", {".metadata.deletionTimestamp": True}, then)
