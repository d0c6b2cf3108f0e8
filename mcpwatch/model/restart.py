"""The policy of restarts and its arithmetic, for everybody who restarts a member: what an end counts for, what
follows it, and after which pause (`delay`). Pure; loads little, because the gateway's cold start needs it.

The watchdog uses it for processes and containers, the gateway for the servers that it hosts (ADR 0077).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcpwatch.model.time import Instant

RestartCondition = Literal["always", "on-failure", "never"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pause before restart n: nothing before the first, then `first * 2^(n-2)` up to `max` seconds, times 1 ± `jitter`."""

    first: float = 0.25
    max: float = 30.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a member may come back. More than `intensity` restarts within `period` seconds parks it in FAILED;
    after `retry` seconds it gets one more try (`None`: only an operator or a config change brings it back)."""

    condition: RestartCondition = "always"
    intensity: int = 5
    period: float = 120.0
    backoff: Backoff = Backoff()
    retry: float | None = 60.0
    fatal_exit_codes: tuple[int, ...] = (78,)
    max_memory: int | None = None
    """Bytes of resident memory of the whole tree above which a planned restart is made."""


UNRUNNABLE = {126: "command cannot be executed", 127: "command not found"}
"""Exit codes by which a shell, `env` or an engine says that it did not run what it should: it may be there again after an upgrade,
or once a disk is mounted, and no sooner for being tried often."""
STABLE = 60.0
"""Seconds of proven health after which earlier failures are forgotten (or twice the last pause, if that is longer)."""
SHORTEST = 0.002
"""Seconds below which a pause is none: no timer is finer, and waiting for one would take longer than what was asked for."""


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """The unplanned ends of one member: how many in a row, and when those within the policy's period were, oldest first."""

    failures: int = 0
    ends: tuple[Instant, ...] = ()


@dataclass(frozen=True, slots=True)
class Next:
    """What follows an end. `again`: a start after `pause` seconds. `parked`: one more try after `pause` seconds (`None`: none).

    `finished`: it ended as it may, and stays down until somebody wants it up.
    """

    step: Literal["again", "parked", "finished"]
    pause: float | None = None


def counted(policy: RestartPolicy, history: RestartHistory, at: Instant, ready_at: Instant | None) -> RestartHistory:
    """One more unplanned end; earlier ones are forgotten if the member was stable since `ready_at` (`None`: never ready).

    The budget is for a period, whatever happened in it; but a try that spent the whole of it counts once if it held.
    """
    stable = ready_at is not None and at - ready_at >= max(STABLE, 2 * delay(policy, history.failures, 0.5))
    recent = tuple(end for end in history.ends if at - end < policy.period)
    return RestartHistory(1, (*dict.fromkeys(recent), at)) if stable else RestartHistory(history.failures + 1, (*recent, at))


def after_exit(policy: RestartPolicy, code: int | None) -> Next | None:
    """What an exit code alone decides (`None`: killed by a signal); `None` when the history decides."""
    if policy.condition == "on-failure" and code == 0:
        return Next("finished")
    if policy.condition == "never" or code in policy.fatal_exit_codes:
        return Next("parked")
    if code in UNRUNNABLE:
        return Next("parked", policy.retry)
    return None


def exit_words(code: int) -> str:
    """An exit code in words: `exited with code 127 (command not found)`."""
    return f"exited with code {code} ({UNRUNNABLE[code]})" if code in UNRUNNABLE else f"exited with code {code}"


def not_retried(policy: RestartPolicy, code: int | None) -> str:
    """Why an exit is the last until somebody starts it, in words; empty where it is not. As with systemd's RestartPreventExitStatus
    no `retry` follows: what such a code says does not change by waiting.
    """
    if after_exit(policy, code) != Next("parked"):
        return ""
    if policy.condition == "never":
        return "not retried: restart.condition is never"
    if code not in policy.fatal_exit_codes:
        return f"not retried: exit code {code}, and restart.retry is null; start it by hand when it is mended"
    return f"not retried: exit code {code} is fatal (restart.fatal_exit_codes); start it by hand when it is mended"


def retried_slowly(policy: RestartPolicy, code: int | None) -> str:
    """When an exit that parks is tried again by itself, in words; empty where it is not, or where its history decides."""
    decided = after_exit(policy, code)
    return f"tried again every {decided.pause:g}s (restart.retry)" if decided is not None and decided.pause is not None else ""


def after_end(policy: RestartPolicy, history: RestartHistory, at: Instant, unit: float) -> Next:
    """What follows an unplanned end that `history` already counts; `unit` in [0, 1) places the pause within the jitter."""
    if exceeded(policy, history.ends, at):
        return Next("parked", policy.retry)
    return Next("again", delay(policy, history.failures, unit))


def one_try(policy: RestartPolicy, history: RestartHistory, at: Instant) -> RestartHistory:
    """The history of a parked member that gets one more try: the next end finds the budget spent, unless it was stable before."""
    return RestartHistory(history.failures, (at,) * policy.intensity)


def delay(policy: RestartPolicy, failures: int, unit: float) -> float:
    """Seconds to pause after the `failures`-th unplanned end in a row; `unit` in [0, 1) places it within the jitter.

    The first is answered at once; then `first`, twice that, and so on up to `max`.
    """
    if failures <= 1:
        return 0.0
    backoff = policy.backoff
    pause = min(backoff.max, backoff.first * 2.0 ** min(failures - 2, 60))
    jittered = pause * (1.0 + backoff.jitter * (2.0 * unit - 1.0))
    return jittered if jittered >= SHORTEST else 0.0


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
