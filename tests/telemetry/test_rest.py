"""A fleet at rest costs nothing: no timer of this room runs while nothing happens and nobody asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcpwatch.bus import Bus
from mcpwatch.model.spec import Plan
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.fleet_collector import SETTLE_AT
from mcpwatch.telemetry.service import Telemetry, TelemetryContext
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.telemetry import fleet
from tests.telemetry.running import CLOCK, FleetAsData
from tests.virtual import VirtualClock, VirtualLoop, run


def test_the_room_sleeps_until_something_happens(tmp_path: Path):
    async def play(loop: VirtualLoop, clock: VirtualClock) -> None:
        bus = Bus()
        telemetry = Telemetry(TelemetryContext(FleetAsData("time"), bus, clock, tmp_path, "1"), TelemetrySpec())
        task = asyncio.create_task(telemetry.run())
        await asyncio.sleep(1)  # virtual
        naps = loop.naps
        await asyncio.sleep(20 * 3600)
        assert loop.naps == naps + 1  # this test's own
        bus.publish(fleet.probed("time"))
        await asyncio.sleep(1)
        naps = loop.naps
        await asyncio.sleep(3600)
        assert loop.naps == naps + 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(play)


def test_many_facts_are_counted_although_nobody_scrapes(tmp_path: Path):
    async def play() -> None:
        bus = Bus()
        telemetry = Telemetry(TelemetryContext(FleetAsData("time"), bus, CLOCK, tmp_path, "1"), TelemetrySpec())
        collector = telemetry._collector  # pyright: ignore[reportPrivateUsage]
        loop, counted, count = asyncio.get_running_loop(), asyncio.Event(), collector.settle

        def settle(plan: Plan, offered: int) -> None:
            count(plan, offered)
            loop.call_soon_threadsafe(counted.set)

        collector.settle = settle
        task = asyncio.create_task(telemetry.run())
        for _ in range(SETTLE_AT - 1):
            bus.publish(fleet.probed("time"))
        assert not collector.many.is_set()
        bus.publish(fleet.probed("time"))
        async with asyncio.timeout(30):
            await counted.wait()
        recorder = collector._recorder  # pyright: ignore[reportPrivateUsage]
        assert recorder.get(of.FACTS, ("probe_finished",)) == SETTLE_AT
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
