"""When a member may come back: three pure functions over a policy. Knows no phase, no clock and no chance."""

from __future__ import annotations

from collections.abc import Iterable

from mcpwatch.model.spec import RestartPolicy
from mcpwatch.model.time import Instant

_DOUBLINGS = 64
"""Above this many doublings every backoff has long reached its `max`; keeps the power finite."""


def delay(policy: RestartPolicy, failures: int, unit_random: float) -> float:
    """Seconds to wait before restart number `failures` (1-based: unplanned ends since the last proven health).

    Nothing before the first, then `first * 2^(failures-2)`, at most `max`, times 1 ± jitter. `unit_random` is in [0, 1].
    """
    if failures <= 1:
        return 0.0
    backoff = policy.backoff
    pause = min(backoff.max, backoff.first * 2.0 ** min(failures - 2, _DOUBLINGS))
    return pause * (1.0 + backoff.jitter * (2.0 * unit_random - 1.0))


def window(policy: RestartPolicy, starts: Iterable[Instant], now: Instant) -> tuple[Instant, ...]:
    """Those of `starts` (unplanned restarts) that still count at `now`: the ones younger than `period`."""
    return tuple(start for start in starts if now - start < policy.period)


def exceeded(policy: RestartPolicy, starts: Iterable[Instant], now: Instant) -> bool:
    """Whether one more restart at `now` would be more than `intensity` within `period`: then the member is parked."""
    return len(window(policy, starts, now)) >= policy.intensity


def reachable(policy: RestartPolicy) -> bool:
    """Whether a member that dies as soon as it starts is ever parked, at the longest jitter.

    The first run of restarts is the densest, because pauses only grow. It is counted up to the decision about the restart
    that would be one too many, whether that decision falls before or after its own pause. A policy that never restarts
    needs no limit.
    """
    if policy.condition == "never" or policy.intensity == 0:
        return True
    span = 0.0
    for failures in range(2, policy.intensity + 2):
        span += delay(policy, failures, 1.0)
        if span >= policy.period:
            return False
    return True
