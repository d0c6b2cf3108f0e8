"""The meter hears facts and keeps hours, over restarts of the watchdog."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mcpwatch.model.fact import MemberExited, RouteChanged, WatchGap
from mcpwatch.model.member import Phase
from mcpwatch.model.time import WallTime
from mcpwatch.store.measured import read_seconds
from mcpwatch.web.objectives.hour import HOUR, from_json, summed
from tests.telemetry.fleet import BAD, probed
from tests.web.room import Room


@pytest.mark.anyio
async def test_the_meter_hears_probes_ends_and_gaps_and_writes_hours(tmp_path: Path) -> None:
    room = Room(tmp_path)
    meter, clock, bus = room.web.meter, room.clock, room.bus
    bus.publish(probed("git", vantage="route"))
    clock.move(30)
    bus.publish(MemberExited(at=clock.wall(), text="git: killed", member="git", generation=3, signal=9))
    bus.publish(RouteChanged(at=clock.wall(), text="", route="git", member="git", old="healthy", new="unhealthy", reason="killed"))
    clock.move(10)
    bus.publish(probed("git", BAD, vantage="route"))
    clock.move(10)
    bus.publish(probed("git", vantage="route"))
    clock.move(5)
    await meter.keep()
    bus.publish(WatchGap(at=clock.wall(), text="", seconds=600, cause="suspended"))
    clock.move(600)
    bus.publish(probed("git", vantage="route"))
    found = summed(meter.live()["git"].values())
    assert (round(found.good), round(found.bad)) == (35, 20)
    assert [round(one.seconds) for one in found.outages] == [20]
    await room.store.flush()
    again = Room(tmp_path)
    task = await again.web._stored(int(clock.wall() // HOUR))  # pyright: ignore[reportPrivateUsage]
    assert from_json(task["git"]).bad == pytest.approx(20, abs=0.1)
    room.close()
    again.close()


@pytest.mark.anyio
async def test_a_member_that_is_given_up_stays_down_for_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    room = Room(tmp_path)
    meter, clock, bus = room.web.meter, room.clock, room.bus
    bus.publish(probed("git", vantage="route"))
    bus.publish(MemberExited(at=clock.wall(), text="git: ended", member="git", generation=3, code=1))
    parked = replace(room.fleet.shown.members[1], phase=Phase.FAILED)
    assert parked.name == "git"
    room.fleet.shown = replace(room.fleet.shown, members=(room.fleet.shown.members[0], parked))
    hours = 3  # a look each minute, as the meter writes; nobody probes a member that is parked
    for _ in range(hours * 60):
        clock.move(60)
        await meter.keep()
    await room.store.flush()
    stored = {number: bad for _, number, _, bad, _ in read_seconds(room.paths.store, first=0, before=1 << 40)}
    assert sum(stored.values()) == pytest.approx(hours * HOUR, abs=0.1)
    room.close()


@pytest.mark.anyio
async def test_the_hour_before_the_start_of_a_watchdog_is_no_gap(tmp_path: Path) -> None:
    first = Room(tmp_path)
    first.clock.move(HOUR - first.clock.at % HOUR - 600)  # ten minutes before a new hour
    for _ in range(10):
        first.bus.publish(probed("git", vantage="route"))
        first.clock.move(60)
    await first.web.meter.keep()
    await first.store.flush()
    first.close()
    after = Room(tmp_path)
    after.clock.at, after.clock.since_boot = WallTime(first.clock.at + 300), 5000.0  # another watchdog, in the new hour
    await after.web.meter.keep()
    git = (await after.web.api.handlers["GET", "/availability"]({}))["routes"]["git"]
    assert (git["bar"][-2], git["bar"][-1], git["24h"]) == ([1.0, 0], [None, 0], 100.0)
    after.close()


@pytest.mark.anyio
async def test_an_hour_that_two_ask_for_at_once_is_taken_up_once(tmp_path: Path) -> None:
    first = Room(tmp_path)
    for _ in range(5):
        first.bus.publish(probed("git", vantage="route"))
        first.clock.move(60)
    await first.web.meter.keep()
    await first.store.flush()
    before = summed(first.web.meter.live()["git"].values()).good
    first.close()
    after = Room(tmp_path)
    after.clock.at, after.clock.since_boot = first.clock.at, 5000.0
    await asyncio.gather(after.web.meter.keep(), after.web.meter.keep())  # the minute's look, and a report
    assert summed(after.web.meter.live()["git"].values()).good == pytest.approx(before)
    after.close()


@pytest.mark.anyio
async def test_a_member_that_is_given_up_is_still_down_after_the_machine_slept(tmp_path: Path) -> None:
    room = Room(tmp_path)
    meter, clock, bus = room.web.meter, room.clock, room.bus
    bus.publish(probed("git", vantage="route"))
    bus.publish(MemberExited(at=clock.wall(), text="git: ended", member="git", generation=3, code=1))
    parked = replace(room.fleet.shown.members[1], phase=Phase.FAILED)
    room.fleet.shown = replace(room.fleet.shown, members=(room.fleet.shown.members[0], parked))
    clock.move(600)
    await meter.keep()
    clock.move(600)
    bus.publish(WatchGap(at=clock.wall(), text="", seconds=600, cause="suspended"))
    for _ in range(120):  # known again from the first look on
        clock.move(60)
        await meter.keep()
    await room.store.flush()
    stored = {number: bad for _, number, _, bad, _ in read_seconds(room.paths.store, first=0, before=1 << 40)}
    assert sum(stored.values()) == pytest.approx(600 + 119 * 60, abs=0.1)
    room.close()
