"""One long day of two routes, through meter, store, maintenance of the alerts, and report: every figure is worked out here.

Time is set by hand. Probes come each 30 s; the word of one is taken for 75 s (two intervals, its deadline of 10 s, 5 s of grace).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.fact import MemberExited, RouteChanged, WatchGap
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import WallTime
from mcpwatch.web.objectives.hour import HOUR
from mcpwatch.web.spec import ObjectivesSpec
from tests.telemetry.fleet import BAD, GOOD, probed
from tests.web.room import Room

pytestmark = pytest.mark.anyio

START = 500_000 * HOUR
"""The beginning of an hour."""
EVERY = 30
PROMISED: dict[str, Any] = {"routes": {"git": {"availability": "97%", "connect_p95": "2ms"}}}


class Day:
    """A fleet of `git` and `time` that is watched; a new watchdog goes on in the same directory."""

    def __init__(self, directory: Path, wall: float, since_boot: float) -> None:
        self.room = room = Room(directory)
        room.clock.at, room.clock.since_boot = WallTime(wall), since_boot
        check = CheckSpec(name="mcp", interval=float(EVERY), timeout=10.0)
        plan = room.fleet.planned
        routes = tuple(replace(one, checks=(check,)) for one in plan.routes)
        room.fleet.planned = replace(plan, routes=routes, sections=(("objectives", ObjectivesSpec.model_validate(PROMISED)),))

    async def runs(self, seconds: int, **bad: bool) -> None:
        """A probe of each route now and each 30 s, until just before the end; what was measured is written once a minute."""
        for passed in range(0, seconds, EVERY):
            for name in ("git", "time"):
                result = BAD if bad.get(name) else GOOD
                self.room.bus.publish(probed(name, result, "route", self.room.clock.wall()))
            if passed % 60 == 0:
                await self.room.web.meter.keep()
            self.room.clock.move(EVERY)

    def ends(self, member: str) -> None:
        """A member is killed, and its route gets its verdict in the same moment."""
        at = self.room.clock.wall()
        self.room.bus.publish(MemberExited(at=at, text="", member=member, generation=3, signal=9))
        self.room.bus.publish(RouteChanged(at=at, text="", route=member, member=member, old="healthy", new="unhealthy",
                                           reason="killed", symptom="upstream_down"))  # fmt: skip

    def steps(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.room.clock.at = WallTime(self.room.clock.at + seconds)
        self.room.bus.publish(WatchGap(at=self.room.clock.wall(), text="", seconds=seconds, cause="clock_step"))

    async def announces(self, what: str, span: str) -> None:
        """Maintenance by hand."""
        body = {"targets": [what], "for": span, "comment": "", "by": "anna"}
        await self.room.web.api.handlers["POST", "/maintenance"](body)

    async def report(self) -> dict[str, Any]:
        """What `mcpwatch report` prints, by route."""
        found = await self.room.web.api.handlers["GET", "/objectives"]({"since": START})
        return {one["route"]: one for one in found["routes"]}


def objective(route: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in route["objectives"] if one["name"] == name)


async def test_a_day_with_outages_maintenance_a_dead_watchdog_and_clock_steps(tmp_path: Path) -> None:
    first = Day(tmp_path, START, 1000.0)
    await first.runs(4 * HOUR)  # good: 14400
    for name in ("git", "time"):  # down for 720 s: from their end at once, to the probe that works
        first.ends(name)
    await first.runs(720, git=True, time=True)
    await first.runs(2 * HOUR)  # good: 7200
    await first.announces("git", "1h")
    await first.runs(1800, git=True, time=True)  # git: 1800 announced, time: 1800 down, for nobody announced it
    await first.runs(1800)  # good: 1800
    first.steps(-2 * HOUR)
    await first.runs(HOUR)  # good: 3600, whatever the clock says
    first.steps(2 * HOUR)
    await first.runs(1800)  # good: 1800
    await first.room.web.meter.keep()
    await first.room.store.flush()
    wall, since_boot = first.room.clock.at, first.room.clock.since_boot
    first.room.close()

    second = Day(tmp_path, wall + 2400, since_boot + 2400)  # killed; the next one begins 40 min later: 2400 s are unknown
    await second.runs(HOUR)  # good: 3600
    second.room.bus.publish(probed("git", vantage="route", at=second.room.clock.wall()))
    second.room.bus.publish(probed("time", vantage="route", at=second.room.clock.wall()))
    found = await second.report()
    git, time = found["git"], found["time"]

    # both were good for 14400 + 7200 + 1800 + 3600 + 1800 + 3600 = 32400 s
    # git:  720 down, 1800 announced.  32400 / (32400 + 720) = 97.8261 %: more than its own 97 %
    # time: 720 + 1800 = 2520 down.    32400 / (32400 + 2520) = 92.7835 %: less than the fleet's 99.5 %
    assert (git["down"], git["announced"], time["down"], time["announced"]) == (720.0, 1800.0, 2520.0, 0.0)
    assert objective(git, "availability")["measured"] == pytest.approx(97.8261, abs=1e-4)
    assert objective(time, "availability")["measured"] == pytest.approx(92.7835, abs=1e-4)
    assert [objective(one, "availability")["met"] for one in (git, time)] == ["met", "missed"]
    # git:  3 % of 33120 s allow 993.6; 720 were used: (993.6 - 720) / 993.6 = 27.536 % are left
    # time: 0.5 % of 34920 s allow 174.6; 2520 were used: (174.6 - 2520) / 174.6 = -1343.3 %
    assert objective(git, "availability")["budget"] == pytest.approx(27.536, abs=1e-3)
    assert objective(time, "availability")["budget"] == pytest.approx(-1343.3, abs=0.1)
    # unknown is only the time without a watchdog: START to the end are 32400 + 720 + 1800 + 2400 s
    assert git["unknown"] == pytest.approx(2400, abs=1e-6)
    assert time["unknown"] == pytest.approx(2400, abs=1e-6)
    # outages: git had one of 720 s (the other one was announced), time two: 720 and 1800 s, the second without a verdict of its own
    assert (git["outages"], git["worst"]["end"] - git["worst"]["begin"], git["worst"]["cause"]) == (1, 720.0, "upstream_down")
    assert (git["detect_median"], git["repair_median"]) == (0.0, 720.0)
    # connect: the probes' 1 + 2 + 1 = 4 ms, told at most 2 % too high; git promised 2 ms, the fleet 500 ms
    assert 0.004 <= objective(git, "connect_p95")["measured"] <= 0.00408
    assert [objective(one, "connect_p95")["met"] for one in (git, time)] == ["missed", "met"]
    assert {objective(git, name)["met"] for name in ("tool_error_rate", "clients")} == {"unknown"}
    second.room.close()
