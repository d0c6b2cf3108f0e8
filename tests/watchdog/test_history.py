"""Outcomes against thresholds."""

from __future__ import annotations

from functools import reduce

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories, Sight, confirm_after, fold, renew, worst

CHECK = CheckSpec("mcp", failure_threshold=3, success_threshold=2, interval=30.0)
GOOD, BAD, SLOW, BROKEN = (
    ProbeResult(outcome) for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.DEGRADED, Outcome.UNKNOWN)
)


def seen(at: float) -> Sight:
    return Sight(Instant(at), Instant(at), WallTime(1.0))


def after(*results: ProbeResult) -> CheckHistory:
    steps = enumerate(results)
    return reduce(lambda history, step: fold(history, step[1], CHECK, seen(float(step[0]))), steps, CheckHistory())


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
    twice = fold(once, BAD, CHECK, seen(once.at + 0.01))
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


def test_the_histories_know_which_of_them_fail() -> None:
    histories, first, second = Histories(), CheckKey("a", "mcp", "direct"), CheckKey("b", "mcp", "direct")
    histories[first], histories[second] = after(GOOD), after(BAD)
    assert histories.failing == {second}
    histories[first], histories[second] = after(GOOD, BAD), after(BAD, GOOD)
    assert histories.failing == {first}
    histories.drop(first)
    assert histories.failing == set()


def test_a_check_that_goes_to_and_fro_is_degraded_with_its_rate_until_it_is_calm() -> None:
    flapping = after(*(GOOD, BAD) * 10)
    assert (flapping.verdict, flapping.flapping, flapping.rate) == (Verdict.DEGRADED, True, 0.5)
    assert confirm_after(CHECK, flapping) is None
    assert after(*(GOOD, BAD) * 10, *(GOOD,) * 10).verdict is Verdict.DEGRADED
    assert after(*(GOOD, BAD) * 10, *(GOOD,) * 20).verdict is Verdict.HEALTHY


def test_ten_seconds_on_and_ten_off_flap_but_an_outage_does_not() -> None:
    on_and_off = after(*((GOOD,) * 3 + (BAD,) * 3) * 4)
    assert (on_and_off.flapping, on_and_off.verdict) == (True, Verdict.DEGRADED)
    outage = after(*(GOOD, BAD) * 10, *(BAD,) * 10)
    assert (outage.flapping, outage.verdict) == (False, Verdict.UNHEALTHY)
    assert after(*(GOOD,) * 15, *(BAD,) * 5).verdict is Verdict.UNHEALTHY


def test_a_new_generation_does_not_flap_for_what_the_old_one_did() -> None:
    assert renew(after(*(GOOD, BAD) * 10), 2).recent == ()


def test_a_streak_remembers_since_when_it_lasts_and_a_broken_prober_does_not_end_it() -> None:
    assert after(GOOD, GOOD, BAD).since == 2.0
    assert after(GOOD, GOOD, BAD, BAD, BROKEN, BAD).since == 2.0
    assert after(GOOD, BAD, BAD, GOOD, GOOD).since == 3.0
    assert after(BAD).since == 0.0
