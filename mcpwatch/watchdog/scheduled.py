"""What the probing is given: one check of the schedule, what it is run against now, and whom it asks and tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcpwatch.model.probe import ProbeResult, Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.history import CheckHistory, CheckKey


@dataclass(frozen=True, slots=True)
class ScheduledCheck:
    """One check from one vantage on one subject: what the schedule runs. `member` owns the generation."""

    key: CheckKey
    check: CheckSpec
    member: str

    @property
    def name(self) -> str:
        """The job's name."""
        return f"{self.key.vantage}:{self.key.subject}:{self.key.check}"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a check is run against now: where, how, and which incarnations it will see (no proxy from the direct vantage: 0)."""

    target: Target
    check: CheckSpec
    generation: int
    proxy_generation: int = 0
    resumes: int = 0
    """How often either side was let run again."""

    @property
    def deep(self) -> bool:
        """Whether it calls a tool of the member, where there is one that may be called."""
        return self.check.canary is not None or self.check.safe_call

    def same(self, other: Aim | None) -> bool:
        """Whether neither side was replaced, or let run again, meanwhile."""
        mine = (self.generation, self.proxy_generation, self.resumes)
        return other is not None and mine == (other.generation, other.proxy_generation, other.resumes)


@dataclass(frozen=True, slots=True)
class ProbeListener:
    """Whom the probing asks and tells.

    `aim`: what to run a check against (`None`: not now). `proving`: whether this generation of a member is still starting.
    `on_try` hears of every probe of a start that has not succeeded yet. `excuse` and `refine` see every result before it
    is judged, `excuse` with when its probe began.
    `on_result` hears every judged result, with the history before and after. `notice` is called before a failure is judged: it
    tells `gap` now if time went by unwatched, and not only at the next tick.
    """

    aim: Callable[[ScheduledCheck], Aim | None]
    proving: Callable[[str, int], bool]
    on_try: Callable[[ScheduledCheck], None]
    excuse: Callable[[ScheduledCheck, ProbeResult, Instant], Awaitable[ProbeResult]]
    refine: Callable[[ScheduledCheck, ProbeResult, int], ProbeResult]
    on_result: Callable[[ScheduledCheck, CheckHistory, CheckHistory], None]
    notice: Callable[[], None]
