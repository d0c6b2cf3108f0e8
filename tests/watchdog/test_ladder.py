"""Which rung, when, and when none."""

from __future__ import annotations

from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.ladder import ATTEMPTS, FORGET, HOLD_DOWN, Attempt, choose

HUNG = Diagnosis("member_hung", "fetch", "hung", rung="restart")
AUTH = Diagnosis("auth", "fetch", "refused")
NOW = Instant(1000.0)


def tried(*spans: float, proved: bool | None = False) -> tuple[Attempt, ...]:
    return tuple(Attempt(Instant(NOW - span), "member_hung", "fetch", "restart", proved) for span in spans)


def test_the_first_repair_is_the_lowest_rung_at_once() -> None:
    assert choose(HUNG, (), NOW, recreates=False).rung == "restart"


def test_a_cause_without_a_rung_is_never_answered_with_a_restart() -> None:
    assert choose(AUTH, (), NOW, recreates=True).rung is None


def test_only_one_repair_of_a_member_is_under_way() -> None:
    assert choose(HUNG, tried(500.0, proved=None), NOW, recreates=False).rung is None


def test_the_next_repair_waits_and_says_until_when() -> None:
    choice = choose(HUNG, tried(5.0), NOW, recreates=False)
    assert choice.rung is None
    assert choice.wait_until == Instant(NOW - 5.0 + HOLD_DOWN)


def test_a_failed_restart_is_followed_by_a_recreation_where_that_is_possible() -> None:
    assert choose(HUNG, tried(200.0), NOW, recreates=True).rung == "recreate"
    assert choose(HUNG, tried(200.0), NOW, recreates=False).rung == "restart"


def test_repairs_that_do_not_help_end_in_quarantine_and_then_in_nothing() -> None:
    failed = tried(*(800.0 - 200.0 * n for n in range(ATTEMPTS)))
    assert choose(HUNG, failed, NOW, recreates=False).rung == "quarantine"
    quarantined = (*failed, Attempt(Instant(NOW - 300.0), "member_hung", "fetch", "quarantine", False))
    assert choose(HUNG, quarantined, NOW, recreates=False).rung is None


def test_a_repair_that_helped_and_one_that_is_long_past_do_not_count() -> None:
    assert choose(HUNG, tried(100.0, proved=True), NOW, recreates=True).rung == "restart"
    assert choose(HUNG, tried(*(FORGET + n for n in range(9))), NOW, recreates=True).rung == "restart"
