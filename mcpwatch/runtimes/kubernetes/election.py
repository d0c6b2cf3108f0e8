"""Who of several watchdogs leads: what a Lease of Kubernetes means, and what to write into it. Pure; time comes in as data.

A lease is judged by our own clock alone, from when we saw it change: the clocks of machines differ. The rule is that of client-go's
leader election, so that its arguments hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mcpwatch.model.time import Instant
from mcpwatch.runtimes.kubernetes.raw import Object, number, part, word

RENEW_SHARE = 1 / 5
"""Of the duration: the pause between two renewals."""
HOLD_SHARE = 2 / 3
"""Of the duration: how long a lead is believed after the request of its last renewal was sent. The rest is the others' patience."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as read. `term` counts its holders so far."""

    holder: str = ""
    duration: float = 0.0
    term: int = 0
    version: str = ""
    renewed: str = ""


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A lease, and when we first saw it like this."""

    lease: Lease
    at: Instant


@dataclass(frozen=True, slots=True)
class Move:
    """What to do: `create` or `replace` it as ours with this term, or `wait` so many seconds."""

    what: Literal["create", "replace", "wait"]
    term: int = 0
    wait: float = 0.0


def read_lease(raw: Object) -> Lease:
    """The lease of an object."""
    spec = part(raw, "spec")
    return Lease(
        holder=word(raw, "spec", "holderIdentity"),
        duration=float(number(spec.get("leaseDurationSeconds"))),
        term=number(spec.get("leaseTransitions")),
        version=word(raw, "metadata", "resourceVersion"),
        renewed=word(raw, "spec", "renewTime"),
    )


def observed(before: SeenLease | None, lease: Lease, now: Instant) -> SeenLease:
    """The lease as seen now: the time of the first look stays while nobody writes it."""
    same = before is not None and (before.lease.holder, before.lease.renewed) == (lease.holder, lease.renewed)
    return before if before is not None and same and before.lease.version == lease.version else SeenLease(lease, now)


def next_move(seen: SeenLease | None, me: str, duration: float, now: Instant) -> Move:
    """What follows from the lease as seen; `seen` is `None` when there is none."""
    if seen is None:
        return Move("create", 1)
    lease = seen.lease
    if lease.holder == me:
        return Move("replace", max(1, lease.term))
    patience = max(lease.duration, duration) if lease.holder else 0.0
    left = seen.at + patience - now
    if left > 0:
        return Move("wait", wait=min(left, duration * RENEW_SHARE))
    return Move("replace", lease.term + 1)


def written(name: str, me: str, duration: float, term: int, version: str, wall: float) -> dict[str, Any]:
    """The object that makes the lease ours; refused by the server unless it is still of this version."""
    stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    meta: dict[str, Any] = {"name": name, **({"resourceVersion": version} if version else {})}
    spec: dict[str, Any] = {
        "holderIdentity": me,
        "leaseDurationSeconds": max(1, round(duration)),
        "leaseTransitions": term,
        "renewTime": stamp,
        "acquireTime": stamp,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def released(name: str, term: int, version: str, wall: float) -> dict[str, Any]:
    """The object that gives the lease away: whoever waits takes it at once."""
    made = written(name, "", 1.0, term, version, wall)
    made["spec"]["holderIdentity"] = ""
    return made
