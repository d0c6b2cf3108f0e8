"""How often a member may come back. Apart from the rest of the plan, because the gateway's cold start loads nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    fatal_exit_codes: tuple[int, ...] = (78, 126, 127)
    max_memory: int | None = None
    """Bytes of resident memory of the whole tree above which a planned restart is made."""
