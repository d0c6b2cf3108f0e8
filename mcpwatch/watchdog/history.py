"""From probe results to verdicts: the fold of the results of one check from one vantage. Pure.

Owns the thresholds, the streaks and the rate of a check that flaps. An `UNKNOWN` outcome (the prober itself broke) changes
nothing: it argues neither for nor against a member.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from mcpwatch.model.member import Streaks, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime, placed
from mcpwatch.watchdog.bare_answer import bare
from mcpwatch.watchdog.flapping import FLAP_WINDOW, OUTAGES, FailureSpell, flaps_slowly, noted, refused_in, share, weigh
from mcpwatch.watchdog.refusals import refusal

STRIKE_SPACING = 0.25
"""Seconds within which two failures are one look at the same trouble, and count once."""

REFUSALS = 3
"""How many times the threshold of failures one needs that answers, and refuses, each time in the same stage: it may be luck."""

_WORST_FIRST = (Verdict.UNHEALTHY, Verdict.DEGRADED, Verdict.HEALTHY)


@dataclass(frozen=True, slots=True)
class CheckKey:
    """Which history: one check of one member or route (`subject`), from one vantage."""

    subject: str
    check: str
    vantage: Vantage


@dataclass(frozen=True, slots=True)
class CheckHistory:
    """What one check has seen from one vantage: its latest result, its streaks and its verdict.

    `began_at` and `at`: when the latest probe began and ended. `since`: when the present streak began. `generation` and
    `proxy_generation`: which incarnations the latest probe saw (`proxy_generation` is 0 from the direct vantage).
    `deep`: the latest probe called a tool, or would have if there were one that may be called. `recent`: failed or not.
    """

    verdict: Verdict = Verdict.UNKNOWN
    streaks: Streaks = Streaks()
    latest: ProbeResult | None = None
    began_at: Instant | None = None
    at: Instant | None = None
    wall: WallTime | None = None
    since: Instant | None = None
    onset: Instant | None = None
    """When the first probe of the present streak of failures began."""
    last_success: WallTime | None = None
    success_at: Instant | None = None
    generation: int = 0
    proxy_generation: int = 0
    deep: bool = False
    recent: tuple[bool, ...] = ()
    refused_at: tuple[Stage | None, ...] = ()
    """Beside `recent`: the stage in which it was refused by an error of the server, which may not come again."""
    outages: tuple[FailureSpell, ...] = ()
    """The latest that this incarnation had, through the same proxy."""
    flapping: bool = False
    succeeded: bool = False
    """It was well once in this generation, where it was asked last."""
    earlier: Symptom | None = None
    """What the failure before the latest one of this streak complained of."""
    brief: bool = False
    """The latest probe had no more time than one needs that is well."""
    took: float = 0.0
    """Seconds that the last success took."""
    told: ProbeResult | None = None
    """The latest failure of this streak in which it said itself that a restart cannot help, and when."""
    told_at: Instant | None = None
    bare_since: Instant | None = None
    """Since when all that came was a bare 503, which says neither why nor for how long."""
    target: str = ""
    """The wire and the URL that the latest probe was made against."""
    success_target: str = ""
    """Those of the last success in this generation: `succeeded` says nothing of another."""
    proves: bool = True
    """As `CheckSpec.proves`, of the latest result."""

    @property
    def failing(self) -> bool:
        """Whether the latest result was a failure, whatever the thresholds say yet."""
        return self.latest is not None and self.latest.outcome is Outcome.FAILURE

    @property
    def symptom(self) -> Symptom | None:
        """What the latest result complained of, if anything."""
        return self.latest.symptom if self.latest is not None else None

    @property
    def spells(self) -> int:
        """Spells of failure among the latest results."""
        return sum(failed and not before for before, failed in pairwise((False, *self.recent)))

    @property
    def rate(self) -> float:
        """Share of failures among the latest results."""
        if len(self.outages) == OUTAGES:
            return share(self.outages)
        return sum(self.recent) / len(self.recent) if self.recent else 0.0


class Histories(dict[CheckKey, CheckHistory]):
    """All histories of the fleet, found by subject and vantage without looking at the others. `failing` are those that do."""

    def __init__(self) -> None:
        self.failing: set[CheckKey] = set()
        self._places: dict[tuple[str, str], tuple[CheckKey, ...]] = {}

    def __setitem__(self, key: CheckKey, history: CheckHistory) -> None:
        if key not in self:
            place = (key.subject, key.vantage)
            plain_first = sorted(
                (*self._places.get(place, ()), key), key=lambda one: (one.check not in ("mcp", "tools"), one.check)
            )
            self._places[place] = tuple(plain_first)
        super().__setitem__(key, history)
        if history.failing:
            self.failing.add(key)
        else:
            self.failing.discard(key)

    def drop(self, key: CheckKey) -> None:
        """Forget a history; one that is not there is no error."""
        if self.pop(key, None) is not None:
            self.failing.discard(key)
            place = (key.subject, key.vantage)
            self._places[place] = tuple(one for one in self._places[place] if one != key)

    def clock_set(self, now: Instant, wall: WallTime) -> None:
        """The wall clock was set, and shows `wall`: what was seen before it was seen at other times of the new one."""
        for key, history in self.items():
            success = placed(history.last_success, history.success_at, now, wall)
            self[key] = replace(history, wall=placed(history.wall, history.at, now, wall), last_success=success)

    def of(self, subject: str, vantage: str) -> tuple[tuple[CheckKey, CheckHistory], ...]:
        """The histories of a subject from a vantage, the plain `mcp` check first."""
        return tuple((key, self[key]) for key in self._places.get((subject, vantage), ()))


@dataclass(frozen=True, slots=True)
class Sight:
    """The circumstances of one probe: when it began and ended, which incarnations it saw, whether it called a tool, and whom."""

    began_at: Instant
    at: Instant
    wall: WallTime
    generation: int = 0
    proxy_generation: int = 0
    deep: bool = False
    brief: bool = False
    target: str = ""


def fold(history: CheckHistory, result: ProbeResult, check: CheckSpec, sight: Sight) -> CheckHistory:
    """The history after one more result."""
    failed = result.outcome is Outcome.FAILURE
    if result.outcome is Outcome.UNKNOWN or (failed and _same_moment(history, sight)):
        return glance(history, result, sight)
    streaks = Streaks(failures=history.streaks.failures + 1) if failed else Streaks(successes=history.streaks.successes + 1)
    (recent, refused_at), outages = _lately(history, result), _outages(history, streaks.failures, check, sight)
    stuck, flapping = weigh(recent, refused_at, streaks.failures, before=history.flapping)
    flapping = flapping or flaps_slowly(outages, streaks.failures, sight.at)
    lucky = refused_at[-1] is not None and stuck < check.failure_threshold * REFUSALS
    told, told_at, onset = (*_told(history, result, sight), history.onset or sight.began_at) if failed else (None, None, None)
    return CheckHistory(
        verdict=_verdict(history.verdict, streaks, result.outcome, check, flapping=flapping, lucky=lucky),
        streaks=streaks,
        latest=result,
        began_at=sight.began_at,
        at=sight.at,
        wall=sight.wall,
        since=history.since if (history.streaks.failures > 0) == failed and history.since is not None else sight.at,
        onset=onset,
        last_success=history.last_success if failed else sight.wall,
        success_at=history.success_at if failed else sight.at,
        generation=sight.generation,
        proxy_generation=sight.proxy_generation,
        deep=sight.deep,
        recent=recent,
        refused_at=refused_at,
        outages=outages,
        flapping=flapping,
        succeeded=not failed or (history.succeeded and sight.target == history.success_target),
        target=sight.target,
        success_target=history.success_target if failed else sight.target,
        earlier=history.symptom if failed and history.streaks.failures else None,
        brief=sight.brief,
        took=history.took if failed else result.seconds,
        told=told,
        told_at=told_at,
        bare_since=_bare_since(history, result, sight),
        proves=check.proves,
    )


def _same_moment(history: CheckHistory, sight: Sight) -> bool:
    return history.failing and history.at is not None and sight.at - history.at < STRIKE_SPACING


def _lately(history: CheckHistory, result: ProbeResult) -> tuple[tuple[bool, ...], tuple[Stage | None, ...]]:
    """The latest results with one more: failed or not, and the stage in which each was refused."""
    recent, refused_at = (*history.recent, result.outcome is Outcome.FAILURE), (*history.refused_at, refused_in(result))
    return recent[-FLAP_WINDOW:], refused_at[-FLAP_WINDOW:]


def _outages(history: CheckHistory, failures: int, check: CheckSpec, sight: Sight) -> tuple[FailureSpell, ...]:
    """Those of the incarnations that this probe saw."""
    same = (history.generation, history.proxy_generation) == (sight.generation, sight.proxy_generation)
    return noted(history.outages if same else (), failures, check.failure_threshold, sight.at)


def _bare_since(history: CheckHistory, result: ProbeResult, sight: Sight) -> Instant | None:
    if not bare(result):
        return None
    return sight.at if history.bare_since is None else history.bare_since


def _told(history: CheckHistory, result: ProbeResult, sight: Sight) -> tuple[ProbeResult | None, Instant | None]:
    """The latest failure of this streak in which the server said itself that a restart cannot help, and when."""
    return (history.told, history.told_at) if refusal(result) is None else (result, sight.at)


def _verdict(before: Verdict, streaks: Streaks, outcome: Outcome, check: CheckSpec, *, flapping: bool, lucky: bool) -> Verdict:
    """`lucky`: it answers, and refuses; that it does so each time may still be chance."""
    if flapping:
        return Verdict.DEGRADED
    if outcome is Outcome.FAILURE:
        if streaks.failures < check.failure_threshold or (lucky and before is Verdict.UNHEALTHY):
            return before
        return Verdict.DEGRADED if lucky else Verdict.UNHEALTHY
    if streaks.successes < check.success_threshold and before is not Verdict.UNKNOWN:
        return before
    return Verdict.DEGRADED if outcome is Outcome.DEGRADED else Verdict.HEALTHY


def glance(history: CheckHistory, result: ProbeResult, sight: Sight) -> CheckHistory:
    """The history with a newer result that is no strike: of a start that has not proven itself, or of the same moment."""
    if result.outcome is Outcome.UNKNOWN:
        return history
    return replace(
        history,
        latest=result,
        began_at=sight.began_at,
        at=history.at if _same_moment(history, sight) else sight.at,
        wall=sight.wall,
        generation=sight.generation,
        proxy_generation=sight.proxy_generation,
        deep=sight.deep,
        brief=sight.brief,
        target=sight.target,
        bare_since=history.bare_since if bare(result) else None,
    )


def unseen(history: CheckHistory) -> CheckHistory:
    """The history of a check that could not be made for so long that what was good is not known any more."""
    return history if history.verdict is Verdict.UNHEALTHY else replace(history, verdict=Verdict.UNKNOWN)


def renew(history: CheckHistory, generation: int) -> CheckHistory:
    """The history of a new generation: verdict and streaks begin again, what was last seen stays for people to read."""
    last, at = history.last_success, history.success_at
    latest, took, proves = history.latest, history.took, history.proves
    return CheckHistory(
        latest=latest, wall=history.wall, last_success=last, success_at=at, generation=generation, took=took, proves=proves
    )


def overall(histories: Iterable[CheckHistory]) -> Verdict:
    """The worst verdict of several checks. One that proves nothing makes nothing well where there are others."""
    found = tuple(histories)
    proving = any(history.proves for history in found)
    return worst(one.verdict for one in found if one.proves or not proving or one.verdict is not Verdict.HEALTHY)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; healthy beats unknown only when nothing else is known. Nothing at all is unknown."""
    known = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in known), Verdict.UNKNOWN)


def confirm_after(check: CheckSpec, history: CheckHistory) -> float | None:
    """Seconds until an extra probe outside the grid, when a streak of failures is not yet a verdict (or a recovery not yet one).

    `None` for a check that runs by the clock: its times are its own.
    """
    if history.flapping or check.interval is None:
        return None
    undecided = history.failing and history.verdict is not Verdict.UNHEALTHY
    recovering = not history.failing and history.verdict is Verdict.UNHEALTHY
    return min(max(check.interval / 10.0, 0.2), 5.0) if undecided or recovering else None
