"""The arithmetic of objectives in time set by hand: every expected figure is worked out in the test."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.model.time import Instant, WallTime
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage, bucket_of, from_json, percentile, summed, to_json
from mcpwatch.web.objectives.report import RouteReport, bar, percent, quantile, report
from mcpwatch.web.objectives.watch import EXIT, CheckObservation, RouteWatch, State
from mcpwatch.web.spec import ObjectivesSpec

START = 500_000 * HOUR
"""The beginning of an hour."""
INTERVAL, HOLD = 30.0, 70.0


class Day:
    """One route watched with a probe every 30 s; `state` is what it says."""

    def __init__(self) -> None:
        self.hours: dict[int, Hour] = {}
        self.watch = RouteWatch(lambda number: self.hours.setdefault(number, Hour()))
        self.monotonic = 77.0
        self.wall = float(START)

    def probe(self, state: State, *, announced: bool = False, check: str = "mcp") -> None:
        self.watch.look(CheckObservation(check, state, HOLD), Instant(self.monotonic), WallTime(self.wall), announced=announced)

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds

    def run(self, state: State, seconds: float, *, announced: bool = False) -> None:
        """Probes at the beginning and every 30 s, until just before the end."""
        for _ in range(int(seconds // INTERVAL)):
            self.probe(state, announced=announced)
            self.passes(INTERVAL)

    def total(self) -> Hour:
        return summed(self.hours.values())

    def report(self, **promised: Any) -> RouteReport:
        spec = ObjectivesSpec.model_validate(promised)
        found = report(spec, {"git": self.hours}, since=START, now=self.wall)
        return found.routes[0]


def objective(route: RouteReport, name: str) -> Any:
    return next(one for one in route.objectives if one.name == name)


def test_an_outage_counts_from_the_probe_that_failed_to_the_probe_that_worked() -> None:
    day = Day()
    day.run("good", 3600 - 300)
    day.run("bad", 300)
    day.run("good", 3 * 3600)
    day.probe("good")
    # 4 h are watched, 300 s of them bad: (14400 - 300) / 14400 = 97.9166 %
    total = day.total()
    assert (total.good, total.bad, total.announced) == (14_100.0, 300.0, 0.0)
    found = objective(day.report(), "availability")
    assert found.measured == pytest.approx(97.9166, abs=1e-3)
    assert found.met == "missed"
    # 99.5 % of 14400 s allow 72 s; 300 were used: (72 - 300) / 72 = -316.7 %
    assert found.budget == pytest.approx(-316.67, abs=0.01)
    assert objective(day.report(availability=97.0), "availability").met == "met"


def test_probing_more_often_while_it_is_down_makes_nobody_more_down() -> None:
    day = Day()
    day.run("good", 1800)
    for _ in range(300):  # every second
        day.probe("bad")
        day.passes(1)
    day.run("good", 1500)
    day.probe("good")
    assert (day.total().good, day.total().bad) == (3300.0, 300.0)


def test_announced_downtime_is_shown_apart_and_counts_on_neither_side() -> None:
    day = Day()
    day.run("good", 1800)
    day.probe("bad", announced=True)
    day.passes(30)
    day.run("bad", 870, announced=True)
    day.probe("good", announced=True)
    day.run("good", 900)
    day.probe("good")
    # 900 s were announced; the rest was good: 100 % of 2700 s.
    total = day.total()
    assert (total.good, total.bad, total.announced) == (2700.0, 0.0, 900.0)
    route = day.report()
    assert objective(route, "availability").measured == 100.0
    assert (route.announced, route.down, route.unknown) == (900.0, 0.0, 0.0)


def test_a_dead_watchdog_makes_its_time_unknown_not_good_and_not_bad() -> None:
    day = Day()
    day.run("good", 600)
    # Killed: the last probe was 30 s ago and nothing is counted after it. A new watchdog, 40 min later, has no memory.
    day.passes(2400)
    day.watch = RouteWatch(lambda number: day.hours.setdefault(number, Hour()))
    day.run("good", 600)
    day.probe("good")
    # The first ten minutes have 19 whole intervals (570 s), the last ten minutes 600 s; 3600 - 1170 = 2430 s are unknown.
    route = day.report()
    assert (route.watched, route.unknown) == (1170.0, 2430.0)
    assert objective(route, "availability").measured == 100.0


def test_a_word_is_taken_for_so_long_and_no_longer() -> None:
    day = Day()
    day.probe("good")
    day.passes(1000)
    day.probe("bad")
    # 70 s of the first 1000 s are known.
    assert (day.total().good, day.total().bad) == (HOLD, 0.0)


def test_a_gap_of_the_watchdog_is_unknown_from_the_last_look_on() -> None:
    day = Day()
    day.run("good", 300)
    day.watch.pass_time(Instant(day.monotonic), WallTime(day.wall), announced=False)
    day.watch.blind()
    day.passes(3000)
    day.run("good", 300)
    day.probe("good")
    assert day.total().watched == 600.0


@pytest.mark.parametrize("step", [-7200.0, -1800.0, 1800.0, 86_400.0])
def test_a_clock_that_is_set_makes_no_second_good_or_bad(step: float) -> None:
    day = Day()
    day.run("good", 900)
    day.run("bad", 90)
    day.wall += step
    day.run("good", 900)
    day.probe("good")
    # Lengths are those of the monotonic clock: 90 s bad of 1890 s, wherever the hours are: 95.238 %
    total = day.total()
    assert (total.good, total.bad) == (1800.0, 90.0)
    assert 100 * total.good / total.watched == pytest.approx(95.238, abs=1e-3)


def test_time_falls_into_the_hours_it_was_in() -> None:
    day = Day()
    day.wall = START + 3590.0
    day.probe("good")
    day.passes(30)
    day.probe("bad")
    assert {number - START // HOUR: hour.good for number, hour in day.hours.items()} == {0: 10.0, 1: 20.0}


def test_the_worst_of_several_checks_speaks() -> None:
    day = Day()
    day.probe("good", check="mcp")
    day.probe("bad", check="canary")
    day.passes(30)
    day.probe("good", check="mcp")
    day.passes(30)
    day.probe("good", check="canary")
    day.passes(10)
    day.probe("good", check="mcp")
    assert (day.total().good, day.total().bad) == (10.0, 60.0)


def test_a_member_that_ended_is_down_at_once_and_until_something_answers() -> None:
    day = Day()
    day.probe("good")
    day.passes(10)
    day.watch.look(CheckObservation(EXIT, "bad", 3600.0), Instant(day.monotonic), WallTime(day.wall), announced=False)
    day.passes(5)
    day.probe("good")
    day.passes(10)
    day.probe("good")
    assert (day.total().good, day.total().bad) == (20.0, 5.0)


def test_outages_tell_when_they_were_detected_and_repaired() -> None:
    day = Day()
    for seconds in (60.0, 120.0, 600.0):
        day.run("good", 300)
        day.probe("bad")
        day.passes(seconds / 2)
        day.watch.told(WallTime(day.wall), "member_down")
        day.probe("bad")
        day.passes(seconds / 2)
    day.run("good", 300)
    day.probe("bad")
    day.passes(30)
    day.run("good", 60)  # one strike that never made a verdict: seconds, but no outage
    route = day.report()
    assert route.outages == 3
    assert route.worst is not None
    assert (route.worst.seconds, route.worst.cause) == (600.0, "member_down")
    assert (route.detect_median, route.detect_p95) == (60.0, 300.0)
    assert (route.repair_median, route.repair_p95) == (120.0, 600.0)


def test_an_outage_that_goes_on_is_counted_and_not_yet_repaired() -> None:
    day = Day()
    day.run("good", 300)
    day.probe("bad")
    day.passes(40)
    day.watch.told(WallTime(day.wall), "member_down")
    day.run("bad", 600)
    found = report(ObjectivesSpec.model_validate({}), {"git": day.hours}, since=START, now=day.wall, going={"git": _going(day)})
    route = found.routes[0]
    assert (route.outages, route.detect_median, route.repair_median) == (1, 40.0, None)
    assert route.worst is not None
    assert (route.worst.seconds, route.worst.cause) == (640.0, "member_down")
    quiet = report(ObjectivesSpec.model_validate({}), {"git": day.hours}, since=START, now=day.wall).routes[0]
    assert quiet.outages == 0


def _going(day: Day) -> Outage:
    assert day.watch.outage is not None
    return day.watch.outage


def test_percentiles_are_those_of_all_connections_and_at_most_two_percent_high() -> None:
    hour = Hour()
    for number in range(1, 101):
        hour.connected(number / 100)  # 10 ms to 1 s
    found = percentile(hour.connects, 0.95)
    assert found is not None
    assert 0.95 <= found <= 0.95 * 1.02
    assert bucket_of(0.0) == 0
    assert percentile({}, 0.95) is None
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([], 0.5) is None


def test_what_was_not_measured_is_unknown() -> None:
    route = report(ObjectivesSpec.model_validate({}), {"git": {START // HOUR: Hour()}}, since=START, now=START + 60).routes[0]
    assert {one.name: one.met for one in route.objectives} == dict.fromkeys(
        ("availability", "connect_p95", "tool_error_rate", "clients"), "unknown"
    )


@pytest.mark.parametrize(
    ("calls", "errors", "met", "budget"), [(1000, 5, "met", 50.0), (1000, 10, "met", 0.0), (100, 2, "missed", -100.0)]
)
def test_the_rate_of_failed_calls_is_counted_not_guessed(calls: int, errors: int, met: str, budget: float) -> None:
    hour = Hour(calls=calls, errors=errors, counted=True, clients=12)
    route = report(ObjectivesSpec.model_validate({}), {"git": {START // HOUR: hour}}, since=START, now=START + 60).routes[0]
    found = objective(route, "tool_error_rate")
    assert (found.met, found.budget) == (met, budget)
    assert objective(route, "clients").met == "met"


def test_objectives_of_one_route_win_over_those_of_the_fleet() -> None:
    spec = ObjectivesSpec.model_validate({"availability": "99.9%", "routes": {"git": {"connect_p95": "2s"}}})
    assert (spec.of("git").availability, spec.of("git").connect_p95) == (99.9, 2.0)
    assert spec.of("time").connect_p95 == 0.5
    with pytest.raises(ValidationError):
        ObjectivesSpec.model_validate({"availability": "most"})


def test_an_hour_is_kept_as_it_was() -> None:
    hour = Hour(10.0, 2.5, 1.0, {3: 4}, 7, 1, True, 5, [Outage(1.0, 2.0, None, False, "x"), Outage(3.0, 9.0, 4.0, True, "")])
    assert from_json(to_json(hour)) == hour
    for broken in ("", "[]", "nonsense", '{"good": "x"}', '{"outages": [[1]]}', '{"outages": 3}'):
        assert from_json(broken) == Hour()


def test_the_bar_shows_ninety_hours_and_percent_never_rounds_trouble_away() -> None:
    now = START + 90 * HOUR
    slots = bar({now // HOUR: (50.0, 50.0, 0.0), now // HOUR - 1: (0.0, 0.0, 9.0)}, now)
    assert len(slots) == 90
    assert slots[-1][1:] == (0.5, 0.0)
    assert slots[-2][1:] == (None, 9.0)
    assert percent(99.99999) == "99.99 %"
    assert percent(None) == "unknown"
