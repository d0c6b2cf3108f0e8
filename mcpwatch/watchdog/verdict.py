"""From outcomes to verdicts: consecutive results against thresholds, per check and vantage. Pure.

An `UNKNOWN` outcome (the prober itself broke) changes nothing: it argues neither for nor against a member.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcpwatch.model.member import Streaks, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime

STRIKE_SPACING = 0.25
"""Seconds within which two failures are one look at the same trouble, and count once."""

_RANK = {Verdict.HEALTHY: 0, Verdict.UNKNOWN: 1, Verdict.DEGRADED: 2, Verdict.UNHEALTHY: 3}


@dataclass(frozen=True, slots=True)
class Key:
    """Which tally: one check of one member or route (`subject`), from one vantage."""

    subject: str
    check: str
    vantage: Vantage


@dataclass(frozen=True, slots=True)
class Tally:
    """The latest result of one check from one vantage, its streaks and its verdict. `since` is when the streak began."""

    verdict: Verdict = Verdict.UNKNOWN
    streaks: Streaks = Streaks()
    latest: ProbeResult | None = None
    at: Instant | None = None
    wall: WallTime | None = None
    since: Instant | None = None
    last_success: WallTime | None = None
    generation: int = 0

    @property
    def failing(self) -> bool:
        """Whether the latest result was a failure, whatever the thresholds say yet."""
        return self.latest is not None and self.latest.outcome is Outcome.FAILURE


class Tallies(dict[Key, Tally]):
    """All tallies of the fleet, found by subject and vantage without looking at the others. `failing` are those that do."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[Key] = set()
        self._places: dict[tuple[str, str], tuple[Key, ...]] = {}

    def __setitem__(self, key: Key, tally: Tally) -> None:
        if key not in self:
            place = (key.subject, key.vantage)
            plain_first = sorted(
                (*self._places.get(place, ()), key), key=lambda one: (one.check not in ("mcp", "tools"), one.check)
            )
            self._places[place] = tuple(plain_first)
        super().__setitem__(key, tally)
        if tally.failing:
            self.failing.add(key)
        else:
            self.failing.discard(key)

    def drop(self, key: Key) -> None:
        """Forget a tally; one that is not there is no error."""
        if self.pop(key, None) is not None:
            self.failing.discard(key)
            place = (key.subject, key.vantage)
            self._places[place] = tuple(one for one in self._places[place] if one != key)

    def of(self, subject: str, vantage: str) -> tuple[tuple[Key, Tally], ...]:
        """The tallies of a subject from a vantage, the plain `mcp` check first."""
        return tuple((key, self[key]) for key in self._places.get((subject, vantage), ()))


def judge(tally: Tally, result: ProbeResult, check: CheckSpec, at: Instant, wall: WallTime) -> Tally:
    """The tally after one more result."""
    if result.outcome is Outcome.UNKNOWN:
        return tally
    failed = result.outcome is Outcome.FAILURE
    if failed and tally.failing and tally.at is not None and 0 <= at - tally.at < STRIKE_SPACING:
        return replace(tally, latest=result, wall=wall)
    streaks = Streaks(failures=tally.streaks.failures + 1) if failed else Streaks(successes=tally.streaks.successes + 1)
    turned = (tally.streaks.failures > 0) != failed or tally.since is None
    verdict = tally.verdict
    if failed and streaks.failures >= check.failure_threshold:
        verdict = Verdict.UNHEALTHY
    if not failed and (streaks.successes >= check.success_threshold or verdict is Verdict.UNKNOWN):
        verdict = Verdict.DEGRADED if result.outcome is Outcome.DEGRADED else Verdict.HEALTHY
    return Tally(
        verdict=verdict,
        streaks=streaks,
        latest=result,
        at=at,
        wall=wall,
        since=at if turned else tally.since,
        last_success=tally.last_success if failed else wall,
        generation=tally.generation,
    )


def renew(tally: Tally, generation: int) -> Tally:
    """The tally of a new generation: verdict and streaks begin again, what was last seen stays for people to read."""
    return replace(tally, verdict=Verdict.UNKNOWN, streaks=Streaks(), at=None, since=None, generation=generation)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; healthy beats unknown only when nothing else is known. Nothing at all is unknown."""
    known = tuple(verdicts)
    if not known:
        return Verdict.UNKNOWN
    if all(verdict in (Verdict.HEALTHY, Verdict.UNKNOWN) for verdict in known):
        return Verdict.HEALTHY if Verdict.HEALTHY in known else Verdict.UNKNOWN
    return max(known, key=_RANK.__getitem__)


def confirm_after(check: CheckSpec, tally: Tally) -> float | None:
    """Seconds until an extra probe outside the grid, when a streak of failures is not yet a verdict (or a recovery not yet one)."""
    interval = check.interval if check.interval is not None else 30.0
    undecided = tally.failing and tally.verdict is not Verdict.UNHEALTHY
    recovering = not tally.failing and tally.verdict is Verdict.UNHEALTHY
    return min(max(interval / 10.0, 0.2), 5.0) if undecided or recovering else None
