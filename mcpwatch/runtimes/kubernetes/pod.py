"""A pod as the API tells of it, as far as a watchdog needs it. Pure: an object of the API in, frozen data out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mcpwatch.runtimes.kubernetes.manifests import CONTAINER, GENERATION
from mcpwatch.runtimes.kubernetes.raw import note_of, number, part, parts

_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class PodContainerEnd:
    """How a container ended: what its status says."""

    code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    at: float = 0.0

    @property
    def oom(self) -> bool:
        """Whether the kernel killed it for its memory."""
        return self.reason == "OOMKilled"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. `container` and `started` are of the member's container while it runs; `waiting` is why it does not.

    `ready` is what the Service goes by; `containers_ready` what the kubelet last said of the containers.
    """

    name: str
    uid: str
    generation: int = 0
    phase: str = ""
    node: str = ""
    address: str = ""
    created: float = 0.0
    deleting: bool = False
    container: str = ""
    started: float = 0.0
    restarts: int = 0
    ready: bool = False
    containers_ready: bool = False
    waiting: str = ""
    waiting_message: str = ""
    ended: PodContainerEnd | None = None
    """How the container ended, when it does not run now."""
    last: PodContainerEnd | None = None
    """How the run before this one ended."""
    reason: str = ""
    message: str = ""
    unscheduled: str = ""
    """Why the scheduler finds no node, in its own words."""
    disrupted: str = ""
    """Why the cluster takes it away: reason and message of its condition `DisruptionTarget`."""

    @property
    def running(self) -> bool:
        """Whether the member's container runs, as far as is known."""
        return bool(self.container) and self.phase not in {"Failed", "Succeeded"}

    @property
    def run(self) -> tuple[str, str]:
        """What names this run of this container, among all runs."""
        return self.uid, self.container


def read_pod(raw: Mapping[str, Any], container: str = CONTAINER) -> Pod:
    """The pod of an object; `container` names the member's one, else the first is taken."""
    meta, status = part(raw, "metadata"), part(raw, "status")
    statuses = parts(status, "containerStatuses")
    own = next((one for one in statuses if one.get("name") == container), statuses[0] if statuses else {})
    initial = parts(status, "initContainerStatuses")
    state, last = part(own, "state"), part(own, "lastState")
    running, waiting = part(state, "running"), part(state, "waiting")
    if not running:
        waiting = next((found for one in initial if (found := part(one, "state", "waiting")).get("reason")), waiting)
    conditions = {str(one.get("type")): one for one in parts(status, "conditions")}
    scheduled, disrupted = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    unscheduled = scheduled.get("status") == "False" and scheduled.get("reason") in {"Unschedulable", "SchedulerError"}
    return Pod(
        name=str(meta.get("name") or ""),
        uid=str(meta.get("uid") or ""),
        generation=number(note_of(raw, GENERATION)),
        phase=str(status.get("phase") or ""),
        node=str(part(raw, "spec").get("nodeName") or ""),
        address=str(status.get("podIP") or ""),
        created=moment(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        container=str(own.get("containerID") or "running") if running else "",
        started=moment(running.get("startedAt")),
        restarts=number(own.get("restartCount")),
        ready=conditions.get("Ready", {}).get("status") == "True",
        containers_ready=bool(statuses) and all(bool(one.get("ready")) for one in statuses),
        waiting=str(waiting.get("reason") or ""),
        waiting_message=str(waiting.get("message") or ""),
        ended=_ended(part(state, "terminated")),
        last=_ended(part(last, "terminated")),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        unscheduled=str(scheduled.get("message") or "no node fits") if unscheduled else "",
        disrupted=_words(disrupted.get("reason"), disrupted.get("message")) if disrupted.get("status") == "True" else "",
    )


def moment(value: object) -> float:
    """Seconds since the epoch of a time of the API (`2026-11-29T15:00:00Z`, with or without a fraction); 0 for none."""
    if not isinstance(value, str) or not value:
        return 0.0
    try:
        return datetime.fromisoformat(value).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0


def _ended(raw: Mapping[str, Any]) -> PodContainerEnd | None:
    if not raw:
        return None
    code = raw.get("exitCode")
    known = code if isinstance(code, int) else None
    signal = number(raw.get("signal")) or (known - _SIGNALLED if known is not None and _SIGNALLED < known < _SIGNALLED + 65 else 0)
    message = str(raw.get("message") or "").strip()
    return PodContainerEnd(known, signal or None, str(raw.get("reason") or ""), message, moment(raw.get("finishedAt")))


def _words(*said: object) -> str:
    return ": ".join(str(one) for one in said if one)
