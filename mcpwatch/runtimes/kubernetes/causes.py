"""From pods, events and workloads to one named cause, in the cluster's own words. Pure.

A cause is what keeps a member from running or being reached. Must not know: what follows from it; a cause of this list is never
answered with a restart, because the cluster itself goes on trying.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcpwatch.runtimes.kubernetes.pod import Pod, moment
from mcpwatch.runtimes.kubernetes.raw import Object, name_of, part, parts

LONGEST = 400
"""Characters of the cluster's words that are passed on."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`name` is of a closed list (`CAUSES`), `text` a sentence, `said` the cluster's own words where there are any."""

    name: str
    text: str
    said: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.said}" if self.said else self.text


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One event of the cluster. `about` is kind and name of the object: `Pod/mcp-time-6c9…`."""

    about: str
    reason: str
    message: str
    at: float = 0.0


CAUSES: dict[str, str] = {
    "crash_loop": "its container ends again and again, and Kubernetes pauses before the next start",
    "image_pull": "its image cannot be pulled",
    "config": "its container cannot be made as it is written",
    "member_oom": "its container was killed for using more memory than its limit",
    "evicted": "its pod was evicted",
    "unschedulable": "no node takes its pod",
    "quota": "a quota of the namespace forbids its pod",
    "admission": "the cluster refuses its pod",
    "volume": "its volume cannot be mounted",
    "node_not_ready": "the node that runs its pod is not ready",
    "not_ready": "its pod runs, but the kubelet's probe fails",
    "ended": "its container ended",
    "unknown": "the cluster does not say what its pod does",
}
"""Each cause and its sentence."""

_IMAGE = {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable"}
_MADE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError"}
_VOLUME = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_QUOTA = re.compile(r"exceeded quota|maximum (?:cpu|memory) usage|must specify (?:limits|requests)", re.IGNORECASE)
_REPEATS = re.compile(r"Error: [A-Za-z]+")
_NODE_GONE = {"NodeLost", "NodeShutdown", "Shutdown", "NodeAffinity", "Terminated"}


def read_event(raw: Object) -> ClusterEvent:
    """The event of an object of the API."""
    about, series = part(raw, "involvedObject"), part(raw, "series")
    times = (raw.get("lastTimestamp"), series.get("lastObservedTime"), raw.get("eventTime"), raw.get("firstTimestamp"))
    at = next((found for value in times if (found := moment(value))), 0.0)
    return ClusterEvent(f"{about.get('kind')}/{about.get('name')}", str(raw.get("reason") or ""), str(raw.get("message") or ""), at)


def member_cause(workload: Object | None, pods: Sequence[Pod], events: Iterable[ClusterEvent], wanted: int = 1) -> Cause | None:
    """What keeps a member from running as it should: of its newest pods, else of its workload. `None`: nothing does."""
    heard = tuple(events)
    living = [pod for pod in pods if not pod.deleting]
    newest = max((pod.generation for pod in living), default=0)
    present = [pod for pod in living if pod.generation == newest and pod.phase != "Failed"]
    found = [cause for pod in present if (cause := pod_cause(pod, heard)) is not None]
    if found:
        return min(found, key=lambda cause: list(CAUSES).index(cause.name))
    refused = workload_cause(workload, heard) if workload is not None and len(present) < wanted else None
    if refused is not None:
        return refused
    failed = [pod for pod in pods if pod.phase == "Failed" or pod.disrupted]
    if not present and failed:
        return pod_cause(max(failed, key=lambda pod: pod.created), heard)
    return None


def pod_cause(pod: Pod, events: Iterable[ClusterEvent] = ()) -> Cause | None:
    """What is wrong with one pod, or `None`."""
    own = sorted((event for event in events if event.about == f"Pod/{pod.name}"), key=lambda event: event.at)
    return _taken(pod) or _held(pod, own) or _unreached(pod, own)


def workload_cause(workload: Object, events: Iterable[ClusterEvent] = ()) -> Cause | None:
    """Why no pod is made, from the workload's condition and the events of it and its replica sets; `None`: nothing is said."""
    for condition in parts(part(workload, "status"), "conditions"):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _refused(str(condition.get("message") or condition.get("reason") or ""))
    name = re.escape(name_of(workload))
    pattern = re.compile(rf"(?:StatefulSet/{name}|ReplicaSet/{name}-[a-z0-9]+)")
    told = [event for event in events if event.reason == "FailedCreate" and pattern.fullmatch(event.about)]
    if not told:
        return None
    return _refused(max(told, key=lambda event: event.at).message)


def refusal(status: int, message: str) -> Cause | None:
    """What it means that the API server refused an object of ours with this HTTP status; `None` when it does not say."""
    if status == 403 and _QUOTA.search(message):
        return _cause("quota", message)
    if status in {400, 403, 422} and ("admission" in message or "violates" in message or "denied" in message):
        return _cause("admission", message)
    return _cause("config", message) if status in {400, 422} else None


def _refused(message: str) -> Cause:
    return _cause("quota" if _QUOTA.search(message) else "admission", message)


def _taken(pod: Pod) -> Cause | None:
    """The cluster took it away, or never placed it."""
    if pod.reason == "Evicted":
        return _cause("evicted", pod.message)
    if pod.reason in _NODE_GONE:
        return _cause("node_not_ready", f"{pod.reason}: {pod.message}".rstrip(": "))
    if pod.disrupted:
        gone = pod.disrupted.startswith("DeletionByTaintManager")
        return _cause("node_not_ready" if gone else "evicted", pod.disrupted)
    if pod.unscheduled and not pod.node:
        return _cause("unschedulable", pod.unscheduled)
    return None


def _held(pod: Pod, events: Sequence[ClusterEvent]) -> Cause | None:
    """Its container does not run."""
    if pod.running:
        return None
    last = pod.ended or pod.last
    if pod.waiting in _IMAGE:
        told = _latest(events, {"Failed", "InspectFailed", "ErrImageNeverPull"}, "image")
        return _cause("image_pull", f"{pod.waiting}: {told or pod.waiting_message}".rstrip(": "))
    if pod.waiting in _MADE:
        return _cause("config", f"{pod.waiting}: {pod.waiting_message}".rstrip(": "))
    if last is not None and last.oom:
        return _cause("member_oom", _exit_words(pod))
    if pod.waiting == "CrashLoopBackOff":
        return _cause("crash_loop", f"{pod.waiting_message or pod.waiting}; {_exit_words(pod)}".rstrip("; "))
    if pod.ended is not None:
        return _cause("ended", _exit_words(pod))
    told = _latest(events, _VOLUME)
    if told and pod.node:
        return _cause("volume", told)
    return None


def _unreached(pod: Pod, events: Sequence[ClusterEvent]) -> Cause | None:
    """Its container runs, but it takes no requests."""
    if not pod.running or pod.ready:
        return None
    if pod.containers_ready:  # only the node controller says so: the kubelet would have told of the containers
        return _cause("node_not_ready", _latest(events, {"NodeNotReady"}) or f"node {pod.node} does not report")
    if pod.phase == "Unknown":
        return _cause("unknown", pod.message)
    told = _latest([event for event in events if event.at >= pod.started], {"Unhealthy", "ProbeWarning"})
    return _cause("not_ready", told) if told else None


def _exit_words(pod: Pod) -> str:
    last = pod.ended or pod.last
    if last is None:
        return ""
    how = f"exit code {last.code}" if last.code is not None else last.reason
    if last.reason and last.reason not in {"Error", "Completed"} and last.code is not None:
        how = f"{last.reason}, {how}"
    return f"{how}: {last.message.splitlines()[-1]}" if last.message else how


def _latest(events: Sequence[ClusterEvent], reasons: set[str], word: str = "") -> str:
    """The words of the last event with one of these reasons; the kubelet's `Error: ErrImagePull` beside them only repeats one."""
    told = [event.message for event in events if event.reason in reasons and not _REPEATS.fullmatch(event.message)]
    found = [message for message in told if word in message.lower()]
    return found[-1] if found else ""


def _cause(name: str, said: str = "") -> Cause:
    text = " ".join(said.split())
    return Cause(name, CAUSES[name], text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")
