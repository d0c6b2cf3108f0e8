"""What a member is asked to be and what it is: want, phase, verdict, generation. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mcpwatch.model.time import Instant


class Want(StrEnum):
    """What was asked of a member."""

    UP = "up"
    DOWN = "down"


class Phase(StrEnum):
    """Where a member is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


GONE_BY: dict[str, str] = {
    Phase.STOPPED: "was stopped", Phase.STOPPING: "was stopped", Phase.BACKOFF: "died", Phase.FAILED: "died",
}  # fmt: skip
"""What came of one that does not run, by its phase."""


class Verdict(StrEnum):
    """How healthy a member or route is proven to be."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Streaks:
    """Consecutive outcomes of the latest kind; a change of kind starts the other at one."""

    failures: int = 0
    successes: int = 0


Then = Literal["rest", "start", "again", "park"]
"""What follows when a stop is done: stay stopped, start at once, start after the backoff, or be parked in FAILED."""


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member as observed. Replaced, never mutated; only `decide` makes new ones.

    `starts` is the window of unplanned restarts that the intensity is measured on, `failures` counts unplanned ends since the
    member was last stable and drives the backoff, `ready_at` is when this generation was first proven healthy, `wake_at` the
    deadline of a passing phase.
    """

    want: Want = Want.DOWN
    phase: Phase = Phase.STOPPED
    verdict: Verdict = Verdict.UNKNOWN
    generation: int = 0
    starts: tuple[Instant, ...] = ()
    failures: int = 0
    restarts: int = 0
    begun: bool = False
    """Whether this watchdog has started or adopted it before: only then is a start a restart."""
    ready_at: Instant | None = None
    wake_at: Instant | None = None
    then: Then = "rest"


@dataclass(frozen=True, slots=True)
class ClientCalls:
    """What a proxy tells of the requests of its clients to one member. No check of mcpwatch is one; `None`: none, or not told."""

    waiting_since: Instant | None = None
    """Since when the oldest of them waits for its answer."""
    answered_at: Instant | None = None
    """When the latest was answered by the present incarnation."""
    called_at: Instant | None = None
    """The same of tool calls."""
    progress_at: Instant | None = None
    """When it last told how far it is with one, or had a client asked something because of one."""
    given_up: Instant | None = None
    """When the oldest began of those that clients gave up since the last answer."""
    lately: int = 0
    """How many were answered in the last minute."""
