"""The arithmetic of restarting: how long to pause, when the budget is spent, and whether a policy can ever spend it. Pure."""

from __future__ import annotations

from mcpwatch.model.spec import RestartPolicy
from mcpwatch.model.time import Instant


def delay(policy: RestartPolicy, failures: int, unit: float) -> float:
    """Seconds to pause after the `failures`-th unplanned end in a row; `unit` in [0, 1) places it within the jitter.

    The first is answered at once; then `first`, twice that, and so on up to `max`.
    """
    if failures <= 1:
        return 0.0
    backoff = policy.backoff
    pause = min(backoff.max, backoff.first * 2.0 ** min(failures - 2, 60))
    return pause * (1.0 + backoff.jitter * (2.0 * unit - 1.0))


def exceeded(policy: RestartPolicy, starts: tuple[Instant, ...], now: Instant) -> bool:
    """Whether more than `intensity` unplanned ends lie within the last `period` seconds."""
    return sum(1 for start in starts if now - start < policy.period) > policy.intensity


def reachable(policy: RestartPolicy) -> bool:
    """Whether a member that dies at once, every time, is ever parked: pauses may be too long for the budget to be spent."""
    now, starts = Instant(0.0), ()
    for failures in range(1, policy.intensity + 2):
        starts = (*starts, now)
        if exceeded(policy, starts, now):
            return True
        now = Instant(now + delay(policy, failures, 1.0))
    return False
