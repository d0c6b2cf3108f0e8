"""Patterns, windows and cron expressions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mcpwatch.alerts import cron
from mcpwatch.alerts.book import Silence
from mcpwatch.alerts.silence import Window, matches, muting
from mcpwatch.model.time import WallTime

LABELS = {"alert": "down", "kind": "member", "member": "fetch", "route": "", "name": "fetch", "severity": "critical"}


@pytest.mark.parametrize(
    ("patterns", "fits"),
    [
        ((), True),
        ((("member", "fetch"),), True),
        ((("member", "f*"),), True),
        ((("member", "time|fetch"),), True),
        ((("member", "FETCH"),), False),
        ((("name", "fetch"), ("severity", "warning")), False),
        ((("symptom", "timeout"),), False),
    ],
)
def test_every_pattern_must_fit_its_label(patterns: tuple[tuple[str, str], ...], fits: bool):
    assert matches(patterns, LABELS) is fits


def test_a_name_fits_the_member_of_a_route_and_the_route_itself():
    labels = {"member": "pg", "route": "postgres", "name": "postgres"}
    assert matches((("name", "pg"),), labels)
    assert matches((("name", "postgres"),), labels)


def test_a_silence_mutes_from_its_beginning_until_just_before_its_end():
    one = Silence("s1", (("name", "fetch"),), WallTime(10), WallTime(20))
    muted = [at for at in range(8, 23) if muting((one,), (), LABELS, WallTime(at))]
    assert muted == list(range(10, 20))


def test_a_one_off_window_is_open_between_its_ends():
    window = Window("move", start=WallTime(100), end=WallTime(200))
    assert [window.active(WallTime(at)) for at in (99, 100, 199, 200)] == [False, True, True, False]


def at(text: str) -> WallTime:
    return WallTime(datetime.fromisoformat(text).timestamp())


def test_a_cron_window_is_open_for_its_duration_in_its_own_time_zone():
    window = Window("night", cron="30 2 * * *", duration=3600, timezone="Europe/Berlin")
    for local, is_open in (("02:29:59", False), ("02:30:00", True), ("03:29:59", True), ("03:30:00", False)):
        assert window.active(at(f"2026-07-01T{local}+02:00")) is is_open, local
        assert window.active(at(f"2026-12-01T{local}+01:00")) is is_open, local


def minutes(expression: str, day: str, days: int = 1) -> list[str]:
    rule, first = cron.parse(expression), datetime.fromisoformat(day).replace(tzinfo=UTC)
    every = (first + timedelta(minutes=number) for number in range(days * 1440))
    return [one.strftime("%a %d %H:%M") for one in every if rule.matches(one)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", ["Mon 01 03:00"]),
        ("*/30 1-2 * * *", ["Mon 01 01:00", "Mon 01 01:30", "Mon 01 02:00", "Mon 01 02:30"]),
        ("5,10 0 * jun mon-fri", ["Mon 01 00:05", "Mon 01 00:10"]),
        ("0 0 * * sun", []),
        ("0 0 * jul *", []),
        ("50/5 23 * * *", ["Mon 01 23:50", "Mon 01 23:55"]),
    ],
)
def test_a_cron_expression_matches_its_minutes(expression: str, expected: list[str]):
    assert minutes(expression, "2026-06-01") == expected


def test_day_of_month_and_weekday_both_restricted_are_alternatives():
    assert minutes("0 0 3 * 7", "2026-06-01", days=7) == ["Wed 03 00:00", "Sun 07 00:00"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 3 * *", "five fields"),
        ("61 3 * * *", "minute '61' is not between 0 and 59"),
        ("0 3 * * funday", "weekday 'funday' is not between 0 and 7"),
        ("*/0 3 * * *", r"minute '\*/0' is empty"),
        ("0 9-5 * * *", "hour '9-5' is empty"),
    ],
)
def test_a_wrong_cron_expression_says_which_field_and_what_it_may_hold(expression: str, message: str):
    with pytest.raises(ValueError, match=message):
        cron.parse(expression)
