"""Nothing is looked at without need: the policy names its own next moment, and the room sleeps until then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.alerts.book import Notification
from mcpwatch.alerts.deadline import next_look
from mcpwatch.alerts.policy import advance
from mcpwatch.alerts.routing import AlertPolicy, Flapping
from mcpwatch.alerts.service import VIEW_EVERY, Alerts
from mcpwatch.alerts.silence import Window
from mcpwatch.alerts.spec import AlertsSpec
from mcpwatch.bus import Bus
from mcpwatch.model.fact import AlertChanged, Fact
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import FleetView, MemberView, SelfView
from tests.alerts.stores import MemoryStore
from tests.alerts.test_promises import NAMES, RULES, steps, take
from tests.alerts.test_service import Room, StillFleet
from tests.alerts.world import START, World, route
from tests.virtual import EPOCH, VirtualClock, VirtualLoop, run

GRID = 5.0
"""Everything in these stories happens at multiples of this, so that both ways of looking can agree to the second."""


@dataclass
class Always(World):
    """Looks every five seconds, whatever there is."""

    looks: int = 0

    def happen(self, *events: object) -> list[Notification]:
        self.looks += 1
        self.book, new = advance(self.book, events, WallTime(self.now), self.rules)  # pyright: ignore[reportArgumentType]
        self.sent.extend(new)
        return list(new)

    def after(self, seconds: float, *events: object, step: float = 0.0) -> list[Notification]:
        end = self.now + round(seconds / GRID) * GRID
        while (moment := self.next(end)) < end:
            self.now = moment
            self.happen()
        self.now = end
        return self.happen(*events)

    def next(self, end: float) -> float:
        return self.now + GRID


@dataclass
class OnlyThen(Always):
    """Looks only at the moments that the policy names."""

    def next(self, end: float) -> float:
        moment = next_look(self.book, WallTime(self.now), self.rules)
        return end if moment is None else max(self.now + GRID, moment // GRID * GRID)


def windows() -> st.SearchStrategy[tuple[Window, ...]]:
    nightly = Window("now and then", (("name", "a"),), cron="*/7 * * * *", duration=120)
    once = Window("once", (("name", "b"),), start=WallTime(START + 300), end=WallTime(START + 900))
    return st.sampled_from(((), (nightly,), (once,), (nightly, once)))


@given(RULES, windows(), st.lists(steps, max_size=20))
def test_looking_only_at_the_named_moments_tells_the_same_as_always_looking(
    rules: AlertPolicy, maintenance: tuple[Window, ...], story: list[tuple[str, str, str]]
):
    rules = replace(rules, windows=maintenance, flapping=Flapping(changes=3, period=300.0, quiet=120.0))
    worlds = Always(rules), OnlyThen(rules)
    for world in worlds:
        for name in NAMES:
            world.happen(*world.running(name), world.route(name, "healthy"))
        for step in story:
            take(world, step)
        world.after(2000)
    always, only_then = worlds
    assert only_then.sent == always.sent
    assert only_then.looks <= always.looks


def test_a_healthy_fleet_names_no_moment():
    world = World(AlertPolicy(route(), (Window("hourly", cron="@hourly", duration=600),)))
    world.happen(*world.running("fetch"), world.route("fetch", "healthy"))
    assert next_look(world.book, WallTime(world.now), world.rules) is None


def test_a_window_names_when_it_opens_and_when_it_closes():
    window = Window("night", cron="0 3 * * *", duration=7200)

    def changes(text: str) -> str:
        moment = window.changes(WallTime(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()))
        return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes")

    assert changes("2026-06-01T00:00") == "2026-06-01T03:00+00:00"
    assert changes("2026-06-01T03:00") == "2026-06-01T05:00+00:00"
    assert changes("2026-06-01T05:00") == "2026-06-02T03:00+00:00"


class Counted(Alerts):
    """The room, with its looks counted."""

    looks = 0

    async def _step(self) -> None:
        self.looks += 1
        await super()._step()


class OneMember(StillFleet):
    """Shows `fetch` running, with the verdict that the story last told of."""

    verdict = Verdict.HEALTHY
    wall: Callable[[], WallTime]

    def view(self) -> FleetView:
        at = self.wall()
        shown = MemberView("fetch", "server", "process", Want.UP, Phase.RUNNING, self.verdict, 1, since=at)
        return FleetView(at, SelfView(1, "0", at), members=(shown,))


@contextlib.asynccontextmanager
async def resting(clock: VirtualClock, written: AlertsSpec | None = None) -> AsyncGenerator[tuple[Counted, Room, OneMember]]:
    """A room that has begun, seen its fleet and gone to rest."""
    bus = Bus()
    fleet = OneMember()
    fleet.wall = clock.wall
    alerts = Counted(fleet, MemoryStore(), bus, clock, written)
    room = Room(alerts, bus)
    bus.hook(room.said.append)
    task = asyncio.create_task(alerts.run())
    await asyncio.sleep(1)  # virtual
    try:
        yield alerts, room, fleet
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_at_rest_nothing_wakes_up():
    async def play(loop: VirtualLoop, clock: VirtualClock) -> None:
        written = AlertsSpec.model_validate(
            {
                "receivers": {
                    "ops": {"kind": "webhook", "url": "http://127.0.0.1:9/"},
                    "am": {"kind": "alertmanager", "url": "http://127.0.0.1:9/"},
                }
            }
        )
        async with resting(clock, written) as (alerts, _, _):
            looks, naps = alerts.looks, loop.naps
            await asyncio.sleep(23 * 3600)  # asyncio itself wakes up once a day
            assert alerts.looks == looks
            assert loop.naps == naps + 1  # this test's own

    run(play)


def test_a_fall_is_told_when_its_time_has_come_and_wakes_nobody_in_between():
    async def play(loop: VirtualLoop, clock: VirtualClock) -> None:
        written = AlertsSpec.model_validate({"route": {"for": "1h", "group_wait": 0}})
        async with resting(clock, written) as (alerts, room, fleet):
            began = clock.wall()
            at = WallTime(began - 1)
            for what, new in (("phase", "running"), ("verdict", "unhealthy")):
                room.bus.publish(fallen(what, new, at))
            fleet.verdict = Verdict.UNHEALTHY
            looks = alerts.looks
            await asyncio.sleep(3590)
            assert alerts.ledger.book.alerts["down:fetch"].state == "pending"
            await asyncio.sleep(20)
            (told,) = [fact for fact in room.said if isinstance(fact, AlertChanged)]
            assert (told.new, round(told.at - at)) == ("firing", 3600)
            assert alerts.looks - looks <= 3610 / VIEW_EVERY + 4  # while an alert is open, the fleet is looked at now and then
            assert loop.time() == began - EPOCH + 3610

    def fallen(what: str, new: str, at: WallTime) -> Fact:
        return replace(World(now=at).member("fetch", new, what), at=at)

    run(play)
