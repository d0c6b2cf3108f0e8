"""Outcomes against thresholds."""

from __future__ import annotations

from functools import reduce

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.verdict import Key, Tallies, Tally, confirm_after, judge, renew, worst

CHECK = CheckSpec("mcp", failure_threshold=3, success_threshold=2, interval=30.0)
GOOD, BAD, SLOW, BROKEN = (
    ProbeResult(outcome) for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.DEGRADED, Outcome.UNKNOWN)
)


def after(*results: ProbeResult) -> Tally:
    steps = enumerate(results)
    return reduce(lambda tally, step: judge(tally, step[1], CHECK, Instant(float(step[0])), WallTime(1.0)), steps, Tally())


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ((), Verdict.UNKNOWN),
        ((GOOD,), Verdict.HEALTHY),
        ((GOOD, BAD, BAD), Verdict.HEALTHY),
        ((GOOD, BAD, BAD, BAD), Verdict.UNHEALTHY),
        ((GOOD, BAD, BAD, GOOD, BAD), Verdict.HEALTHY),
        ((BAD, BAD), Verdict.UNKNOWN),
        ((BAD, BAD, BAD, GOOD), Verdict.UNHEALTHY),
        ((BAD, BAD, BAD, GOOD, GOOD), Verdict.HEALTHY),
        ((GOOD, SLOW, SLOW), Verdict.DEGRADED),
    ],
)
def test_a_verdict_changes_only_when_its_threshold_is_reached(results: tuple[ProbeResult, ...], verdict: Verdict) -> None:
    assert after(*results).verdict is verdict


def test_a_broken_prober_argues_neither_for_nor_against() -> None:
    assert after(GOOD, BAD, BAD).streaks == after(GOOD, BAD, BROKEN, BAD, BROKEN).streaks
    assert after(GOOD, BAD, BAD).verdict == after(GOOD, BAD, BROKEN, BAD, BROKEN).verdict


def test_two_failures_within_a_moment_count_once() -> None:
    once = after(GOOD, BAD)
    assert once.at is not None
    twice = judge(once, BAD, CHECK, Instant(once.at + 0.01), WallTime(1.0))
    assert twice.streaks == once.streaks


def test_a_new_generation_begins_again_and_keeps_what_was_last_seen() -> None:
    fresh = renew(after(BAD, BAD, BAD), 5)
    assert (fresh.verdict, fresh.streaks.failures, fresh.latest, fresh.generation) == (Verdict.UNKNOWN, 0, BAD, 5)


def test_a_streak_that_is_not_yet_a_verdict_is_looked_at_again_soon() -> None:
    assert confirm_after(CHECK, after(GOOD, BAD)) == 3.0
    assert confirm_after(CHECK, after(GOOD, BAD, BAD, BAD)) is None
    assert confirm_after(CHECK, after(BAD, BAD, BAD, GOOD)) == 3.0
    assert confirm_after(CHECK, after(GOOD)) is None


def test_the_worst_verdict_speaks_and_silence_is_unknown() -> None:
    assert worst([]) is Verdict.UNKNOWN
    assert worst([Verdict.HEALTHY, Verdict.UNKNOWN]) is Verdict.HEALTHY
    assert worst([Verdict.HEALTHY, Verdict.DEGRADED]) is Verdict.DEGRADED
    assert worst([Verdict.UNKNOWN, Verdict.UNHEALTHY, Verdict.DEGRADED]) is Verdict.UNHEALTHY


def test_the_tallies_know_which_of_them_fail() -> None:
    tallies, first, second = Tallies(), Key("a", "mcp", "direct"), Key("b", "mcp", "direct")
    tallies[first], tallies[second] = after(GOOD), after(BAD)
    assert tallies.failing == {second}
    tallies[first], tallies[second] = after(GOOD, BAD), after(BAD, GOOD)
    assert tallies.failing == {first}
    tallies.drop(first)
    assert tallies.failing == set()
