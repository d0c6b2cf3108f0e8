"""Each number of what is called flapping, at its edge."""

from __future__ import annotations

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.flapping import FLAP_WINDOW, OUTAGES, FailureSpell, flaps_slowly, noted, refused_in, share, weigh


def at(seconds: float) -> Instant:
    return Instant(seconds)


def outages(*begun: float, failures: int = 3, lasted: float = 5.0) -> tuple[FailureSpell, ...]:
    return tuple(FailureSpell(at(one), at(one + lasted), failures) for one in begun)


def test_an_outage_begins_at_the_threshold_grows_by_failures_and_is_followed_by_successes() -> None:
    assert noted((), 2, 3, at(1.0)) == ()
    begun = noted((), 3, 3, at(2.0))
    assert begun == (FailureSpell(at(2.0), at(2.0), 3, 0),)
    assert noted(begun, 1, 3, at(3.0)) == begun, "one failure that is none yet"
    longer = noted(begun, 4, 3, at(4.0))
    assert longer == (FailureSpell(at(2.0), at(4.0), 4, 0),)
    well = noted(noted(longer, 0, 3, at(5.0)), 0, 3, at(6.0))
    assert well == (FailureSpell(at(2.0), at(4.0), 4, 2),)
    assert noted((), 0, 3, at(7.0)) == ()
    many = outages(*range(OUTAGES))
    assert noted(many, 3, 3, at(9.0)) == (*many[1:], FailureSpell(at(9.0), at(9.0), 3))
    assert share(well) == pytest.approx(4 / 6)
    assert share(outages(1.0, 2.0)) == 1.0


@pytest.mark.parametrize(
    ("begun", "failures", "now", "flaps"),
    [
        ((0.0, 50.0, 100.0, 150.0), 3, 151.0, True),
        ((0.0, 50.0, 100.0, 150.5), 3, 151.0, False),
        ((0.0, 0.1, 0.2, 0.3), 3, 0.4, True),
        ((5.0, 5.0, 5.0, 5.0), 3, 6.0, False),
        ((0.0, 50.0, 100.0), 3, 101.0, False),
        ((0.0, 30.0, 60.0, 90.0), 6, 99.0, True),
        ((0.0, 30.0, 60.0, 90.0), 7, 99.0, False),
        ((0.0, 30.0, 60.0, 90.0), 0, 155.0, True),
        ((0.0, 30.0, 60.0, 90.0), 0, 155.1, False),
    ],
)
def test_outages_that_come_and_go_flap_until_it_is_well_for_two_turns_or_down_twice_as_long(
    begun: tuple[float, ...], failures: int, now: float, *, flaps: bool
) -> None:
    assert flaps_slowly(outages(*begun), failures, at(now)) is flaps


@pytest.mark.parametrize(
    ("result", "stage"),
    [
        (ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.TOOLS_LIST), Stage.TOOLS_LIST),
        (ProbeResult(Outcome.FAILURE, Symptom.HTTP_STATUS, Stage.OPEN, http_status=500), Stage.OPEN),
        (ProbeResult(Outcome.FAILURE, Symptom.HTTP_STATUS, Stage.OPEN, http_status=499), None),
        (ProbeResult(Outcome.FAILURE, Symptom.HTTP_STATUS, Stage.OPEN), None),
        (ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.OPEN, http_status=500), None),
        (ProbeResult(Outcome.DEGRADED, Symptom.RPC_ERROR, Stage.TOOLS_LIST), None),
        (ProbeResult(Outcome.SUCCESS), None),
    ],
)
def test_a_refusal_is_an_error_of_the_servers_own(result: ProbeResult, stage: Stage | None) -> None:
    assert refused_in(result) is stage


def history(pattern: str) -> tuple[tuple[bool, ...], tuple[Stage | None, ...], int]:
    """`.` well, `x` failed, `l` and `c` refused at the list and at the canary; and how many failed in a row at the end."""
    stages = {"l": Stage.TOOLS_LIST, "c": Stage.CANARY}
    row = len(pattern) - len(pattern.rstrip("xlc"))
    return tuple(one != "." for one in pattern), tuple(stages.get(one) for one in pattern), row


@pytest.mark.parametrize(
    ("pattern", "before", "stuck", "flaps"),
    [
        ("........x.x.x.x..x", False, 1, True),
        (".....x.x.", False, 0, False),
        ("......x.x.", False, 0, False),
        (".....x.x.x", False, 1, True),
        ("..............x.x.x.", False, 0, False),
        (".............x.x.xx.", False, 0, True),
        ("..................x.", True, 0, False),
        ("................x.x.", True, 0, True),
        ("..................xx", True, 2, False),
        (".................xx.", True, 0, True),
        ("x.x.x.xxxxxxxxx", False, 9, True),
        ("x.x.x.xxxxxxxxxx", False, 10, False),
        ("x.x.x.xxxxxxxxxx", True, 10, False),
        ("l.l.l.llllllllll", False, 10, True),
        ("l.lllllllllllllllllll", True, 19, True),
        ("l.llllllllllllllllllll", True, 20, False),
        ("l.l.l.lclclclcl", False, 1, True),
        ("l.l.l.ccccclllll", False, 5, True),
        ("lclclclclcl", False, 1, True),
    ],
)
def test_results_that_go_to_and_fro_flap_and_a_long_row_of_failures_is_an_outage(
    pattern: str, stuck: int, *, before: bool, flaps: bool
) -> None:
    recent, refused, failures = history(pattern)
    assert weigh(recent, refused, failures, before=before) == (stuck, flaps)


def test_the_window_is_of_twenty_results() -> None:
    assert FLAP_WINDOW == 20
