"""What a member is asked to be and what it is: want, phase, verdict, generation. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    degraded: int = 0


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member as observed. Replaced, never mutated; only `decide` makes new ones.

    `failures` counts unplanned ends since the last proven health and drives the backoff. `starts` is the window of
    unplanned starts for the intensity. `wake_at` is the deadline of a passing phase, `healthy_since` when health was last proven.
    """

    want: Want = Want.DOWN
    phase: Phase = Phase.STOPPED
    verdict: Verdict = Verdict.UNKNOWN
    generation: int = 0
    streaks: Streaks = Streaks()
    starts: tuple[Instant, ...] = ()
    failures: int = 0
    wake_at: Instant | None = None
    ready_at: Instant | None = None
    restart_after_stop: bool = False
