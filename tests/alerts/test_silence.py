"""Patterns and windows."""

from __future__ import annotations

from datetime import datetime

import pytest

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
