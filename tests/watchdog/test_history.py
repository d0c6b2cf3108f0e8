"""Outcomes against thresholds."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import reduce
from itertools import permutations

import pytest

from mcpwatch.model.member import Streaks, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories, Sight, confirm_after, fold, glance, renew, worst

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


@pytest.mark.parametrize(
    ("times", "strikes"),
    [
        ((10.0, 10.0), 1),
        ((10.0, 10.24), 1),
        ((10.0, 10.25), 2),
        ((10.0, 10.2, 10.24), 1),
        ((10.0, 10.2, 10.4), 2),  # a moment begins with its first failure, or many quick ones were none
    ],
)
def test_failures_within_a_moment_count_once(times: tuple[float, ...], strikes: int) -> None:
    history = after(GOOD)
    for at in times:
        history = fold(history, BAD, CHECK, seen(at))
    assert history.streaks.failures == strikes


def test_a_failure_that_is_no_strike_is_still_the_latest_that_was_seen() -> None:
    other = ProbeResult(Outcome.FAILURE, message="another")
    history = fold(after(GOOD, BAD), other, CHECK, Sight(Instant(1.05), Instant(1.1), WallTime(9.0), 4, 5, deep=True))
    assert (history.latest, history.began_at, history.wall) == (other, 1.05, 9.0)
    assert (history.generation, history.proxy_generation, history.deep) == (4, 5, True)
    assert (history.last_success, history.streaks.failures) == (1.0, 1)


def test_a_start_that_fails_again_and_again_has_no_strikes_and_its_moments_are_dated_anew() -> None:
    history = CheckHistory()
    for at, dated in ((5.0, 5.0), (5.2, 5.0), (5.25, 5.25), (9.0, 9.0)):
        history = glance(history, BAD, seen(at))
        assert (history.at, history.streaks, history.verdict) == (dated, Streaks(), Verdict.UNKNOWN)
    assert glance(after(GOOD), BAD, seen(0.1)).at == 0.1, "what was well has no moment of failure"


def test_a_history_says_when_the_latest_probe_was_what_it_saw_and_when_it_was_well_last() -> None:
    empty = CheckHistory()
    assert (empty.generation, empty.proxy_generation, empty.deep, empty.flapping, empty.succeeded) == (0, 0, False, False, False)
    assert (empty.failing, empty.rate) == (False, 0.0)
    well = fold(empty, GOOD, CHECK, Sight(Instant(1.0), Instant(2.0), WallTime(3.0), 4, 5, deep=True))
    assert (well.began_at, well.at, well.wall, well.last_success, well.since) == (1.0, 2.0, 3.0, 3.0, 2.0)
    assert (well.generation, well.proxy_generation, well.deep, well.succeeded) == (4, 5, True, True)
    bad = fold(well, BAD, CHECK, Sight(Instant(6.0), Instant(7.0), WallTime(8.0)))
    assert (bad.began_at, bad.at, bad.wall, bad.last_success, bad.since) == (6.0, 7.0, 8.0, 3.0, 7.0)
    assert (bad.generation, bad.proxy_generation, bad.deep, bad.succeeded, bad.failing) == (0, 0, False, True, True)
    assert not after(BAD, BAD).succeeded


def test_a_new_generation_begins_again_and_keeps_what_was_last_seen() -> None:
    fresh = renew(after(BAD, BAD, BAD), 5)
    assert (fresh.verdict, fresh.streaks.failures, fresh.latest, fresh.generation) == (Verdict.UNKNOWN, 0, BAD, 5)


@pytest.mark.parametrize(("interval", "pause"), [(1.0, 0.2), (2.0, 0.2), (10.0, 1.0), (50.0, 5.0), (3600.0, 5.0)])
def test_it_is_looked_at_again_after_a_tenth_of_the_interval_within_bounds(interval: float, pause: float) -> None:
    assert confirm_after(replace(CHECK, interval=interval), after(GOOD, BAD)) == pytest.approx(pause)


def test_a_streak_that_is_not_yet_a_verdict_is_looked_at_again_soon() -> None:
    assert confirm_after(CHECK, after(GOOD, BAD)) == 3.0
    assert confirm_after(CHECK, after(GOOD, BAD, BAD, BAD)) is None
    assert confirm_after(CHECK, after(BAD, BAD, BAD, GOOD)) == 3.0
    assert confirm_after(CHECK, after(GOOD)) is None


def test_the_worst_verdict_speaks_and_silence_is_unknown() -> None:
    assert worst([]) is worst([Verdict.UNKNOWN]) is Verdict.UNKNOWN
    for pair in permutations((Verdict.UNKNOWN, Verdict.DEGRADED)):
        assert worst(pair) is Verdict.DEGRADED
    for pair in permutations((Verdict.UNHEALTHY, Verdict.DEGRADED)):
        assert worst(pair) is Verdict.UNHEALTHY
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


def test_the_histories_of_a_subject_are_found_by_vantage_the_plain_checks_first() -> None:
    histories = Histories()
    keys = [CheckKey("a", check, "route") for check in ("zeta", "canary", "tools", "mcp")]
    for key in (*keys, CheckKey("a", "mcp", "direct"), CheckKey("b", "mcp", "route")):
        histories[key] = after(BAD)
    assert [key.check for key, _ in histories.of("a", "route")] == ["mcp", "tools", "canary", "zeta"]
    for key in histories:
        histories[key] = after(GOOD)
    assert [key.check for key, _ in histories.of("a", "route")] == ["mcp", "tools", "canary", "zeta"]
    assert histories.of("c", "route") == ()
    histories.drop(keys[1])
    histories.drop(keys[1])
    assert [key.check for key, _ in histories.of("a", "route")] == ["mcp", "tools", "zeta"]
    assert histories.of("a", "direct") == ((CheckKey("a", "mcp", "direct"), after(GOOD)),)


def test_how_often_and_how_much_it_must_fail_to_flap() -> None:
    """Five turns, a fifth of failures, ten results: all three, and each just so."""
    fifth = ((GOOD,) * 4 + (BAD,)) * 3
    assert after(*fifth).flapping
    assert not after(*fifth[:-1]).flapping, "four turns"
    assert not after(*(GOOD,) * 9, *(BAD, GOOD, GOOD, GOOD) * 3).flapping, "less than a fifth"
    assert after(*(GOOD, BAD) * 5).flapping
    assert not after(*(GOOD, BAD) * 4, GOOD).flapping, "nine results"


def test_what_flapped_is_calm_when_less_than_a_tenth_fails_or_it_turned_once_only() -> None:
    flapped = (GOOD, BAD) * 10
    assert after(*flapped, *(GOOD,) * 17).verdict is Verdict.DEGRADED
    assert after(*flapped, *(GOOD,) * 18).verdict is Verdict.HEALTHY
    outage = (*flapped, GOOD, *(BAD,) * 9)
    assert after(*outage).verdict is Verdict.DEGRADED
    assert after(*outage, BAD).verdict is Verdict.UNHEALTHY
    assert after(*outage, *(GOOD,) * 10).verdict is Verdict.DEGRADED
    assert after(*outage, *(GOOD,) * 11).verdict is Verdict.HEALTHY


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


def test_a_streak_remembers_what_the_failure_before_the_latest_complained_of() -> None:
    busy, late = (replace(BAD, symptom=symptom) for symptom in (Symptom.OVERLOADED, Symptom.TIMEOUT))
    assert [after(*results).earlier for results in ((busy,), (busy, late), (busy, late, late), (busy, late, GOOD, late))] == [
        None, Symptom.OVERLOADED, Symptom.TIMEOUT, None,
    ]  # fmt: skip
    slow = replace(SLOW, symptom=Symptom.SLOW)
    assert [after(*results).earlier for results in ((slow, late), (late, slow))] == [None, None], "what is slow did not fail"


STEPS = (Stage.INITIALIZE, Stage.INITIALIZED, Stage.TOOLS_LIST)
WORDS = {Symptom.HTTP_STATUS: 500, Symptom.RPC_ERROR: None}


def refused(stage: Stage, symptom: Symptom = Symptom.HTTP_STATUS, status: int | None = 500) -> ProbeResult:
    return ProbeResult(Outcome.FAILURE, symptom, stage, http_status=status if symptom is Symptom.HTTP_STATUS else None)


def chance(luck: random.Random, requests: int, symptom: Symptom) -> ProbeResult:
    """A probe of so many requests, of which every second is answered with an error, whichever it is."""
    return next((refused(stage, symptom) for stage in STEPS[:requests] if luck.random() < 0.5), GOOD)


@pytest.mark.sample(1)
@pytest.mark.parametrize("symptom", WORDS)
@pytest.mark.parametrize("requests", [1, 2, 3])
def test_of_a_server_of_which_half_of_the_answers_are_errors_it_is_said_that_it_flaps(requests: int, symptom: Symptom) -> None:
    counted: Counter[Verdict] = Counter()
    for seed in range(40):
        luck, history = random.Random(seed), CheckHistory()
        for at in range(300):
            history = fold(history, chance(luck, requests, symptom), CHECK, seen(float(at)))
            counted[history.verdict] += 1
            assert at >= 3 or history.verdict is not Verdict.UNHEALTHY, "three refusals are chance"
        assert history.flapping
        assert 0.1 < history.rate <= 1.0
    assert counted[Verdict.UNHEALTHY] <= 0.015 * counted.total()
    assert counted[Verdict.DEGRADED] >= 0.8 * counted.total()


@pytest.mark.parametrize("symptom", WORDS)
@pytest.mark.parametrize("before", [(), (GOOD,), (GOOD, GOOD, GOOD)])
def test_a_server_that_always_refuses_in_the_same_stage_is_degraded_first_and_then_unhealthy(
    before: tuple[ProbeResult, ...], symptom: Symptom
) -> None:
    verdicts = [after(*before, *[refused(Stage.TOOLS_LIST, symptom)] * count).verdict for count in range(1, 12)]
    first = Verdict.HEALTHY if before else Verdict.UNKNOWN
    assert verdicts == [first] * 2 + [Verdict.DEGRADED] * 6 + [Verdict.UNHEALTHY] * 3
    assert confirm_after(CHECK, after(*before, *[refused(Stage.OPEN, symptom)] * 5)) == 3.0, "it is looked at soon until then"
    recovering = after(*before, *[refused(Stage.TOOLS_LIST, symptom)] * 9, GOOD, refused(Stage.TOOLS_LIST, symptom))
    assert recovering.verdict is Verdict.UNHEALTHY, "one answer is no recovery"


@pytest.mark.parametrize("status", [400, 404, 499, None])
def test_what_blames_the_request_or_says_nothing_is_no_chance(status: int | None) -> None:
    assert after(GOOD, *[refused(Stage.OPEN, status=status)] * 3).verdict is Verdict.UNHEALTHY
    silent = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.OPEN)
    assert after(GOOD, refused(Stage.OPEN), refused(Stage.OPEN), silent).verdict is Verdict.UNHEALTHY
    assert after(GOOD, silent, silent, refused(Stage.OPEN)).verdict is Verdict.DEGRADED


def test_one_that_is_silent_between_its_refusals_does_not_flap_for_that() -> None:
    silent = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.OPEN)
    history = after(GOOD, *[refused(Stage.OPEN), silent] * 12)
    assert (history.verdict, history.flapping) == (Verdict.UNHEALTHY, False)


def test_what_it_said_of_what_it_waits_for_is_kept_for_as_long_as_it_fails() -> None:
    told = ProbeResult(Outcome.FAILURE, Symptom.TOOL_ERROR, Stage.CANARY, "connect ECONNREFUSED 10.0.0.1:5432")
    assert (after(GOOD, told, BAD, BAD).told, after(GOOD, told, BAD, BAD).told_at) == (told, 1.0)
    assert after(GOOD, told, BAD, GOOD).told is None
    assert (after(GOOD, BAD).told, after(GOOD, BAD).told_at) == (None, None)
    assert after(told, BAD, told, BAD).told_at == 2.0
