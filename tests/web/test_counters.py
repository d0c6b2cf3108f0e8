"""What the gateway counts, hour by hour and as metrics: worked out by hand, in time set by hand, with a gateway made of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mcpwatch.app.standing import MADE_EVERY, Standing
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import MemberStarted
from mcpwatch.model.spec import ProxySpec
from mcpwatch.telemetry.readings import CallsNow, ObjectiveNow
from mcpwatch.web.objectives.hour import HOUR, Hour, summed
from mcpwatch.web.objectives.meter import Counted, ObjectiveMeter
from mcpwatch.web.objectives.report import Report, report
from mcpwatch.web.spec import ObjectivesSpec
from tests.checks.until import until
from tests.web.room import Room

pytestmark = pytest.mark.anyio

PROXY = ProxySpec("gateway", "proxy", "127.0.0.1:9090", "http://127.0.0.1:9090")


class Gateway:
    """The admin document of a gateway, as data; `None`: it is away."""

    def __init__(self) -> None:
        self.says: Mapping[str, Counted] | None = {}

    async def ask(self) -> Mapping[str, Counted]:
        if self.says is None:
            raise RuntimeFailed("it is away")
        return self.says


def meter_of(room: Room, gateway: Gateway) -> ObjectiveMeter:
    room.fleet.planned = replace(room.fleet.planned, proxy=PROXY)

    async def stored(hour: int) -> Mapping[str, str]:
        return {}

    return ObjectiveMeter(
        room.fleet, room.store, room.bus, room.clock, announced=lambda _: False, counters=gateway.ask, stored=stored
    )


def started(room: Room, *, adopted: bool) -> None:
    room.bus.publish(MemberStarted(at=room.clock.wall(), text="", member="proxy", generation=1, adopted=adopted))


async def test_calls_are_counted_from_the_gateways_start_on_and_over_its_restarts(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter = meter_of(room, gateway)
    started(room, adopted=False)
    for says in (
        {"git": Counted(100, 2, 3)},  # 100 calls, 2 failed
        {"git": Counted(150, 2, 12)},  # 50 more, none failed; 12 clients at once
        None,  # away: nothing is made up
    ):
        gateway.says = says
        await meter.read()
        room.clock.move(60)
    started(room, adopted=False)  # a new gateway begins at 0, and has passed the old figure already
    gateway.says = {"git": Counted(250, 3, 1)}
    await meter.read()
    # 100 + 50 + 250 = 400 calls, 2 + 0 + 3 = 5 failed: 1.25 %, more than the 1 % that was promised; 12 clients at once
    total = summed(meter.live()["git"].values())
    assert (total.calls, total.errors, total.clients, total.counted) == (400, 5, 12, True)
    found = report(ObjectivesSpec.model_validate({}), meter.live(), since=0, now=room.clock.wall()).routes[0]
    rate, clients = found.objectives[2], found.objectives[3]
    assert (rate.measured, rate.met, rate.samples) == (1.25, "missed", "5 of 400 calls failed")
    # 1 % of 400 allows 4; 5 were used: (4 - 5) / 4 = -25 %
    assert (rate.budget, clients.met) == (-25.0, "met")
    assert meter.counted() == {"git": Counted(400, 5, 1)}
    room.close()


async def test_a_gateway_that_was_found_alive_counts_from_its_first_word_on(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter = meter_of(room, gateway)
    started(room, adopted=True)
    for calls, errors in ((5000, 40), (5010, 41), (7, 1)):  # ten calls, then a gateway that nobody told of began anew: seven
        gateway.says = {"git": Counted(calls, errors, 0)}
        await meter.read()
    total = summed(meter.live()["git"].values())
    assert (total.calls, total.errors) == (17, 2)
    room.close()


async def test_calls_fall_into_the_hour_in_which_they_were_read(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter = meter_of(room, gateway)
    started(room, adopted=False)
    room.clock.move(HOUR - room.clock.at % HOUR - 30)  # half a minute before a new hour
    gateway.says = {"git": Counted(10, 0, 2)}
    await meter.read()
    room.clock.move(60)
    gateway.says = {"git": Counted(25, 1, 1)}
    await meter.read()
    assert [(hour.calls, hour.errors, hour.clients) for _, hour in sorted(meter.live()["git"].items())] == [(10, 0, 2), (15, 1, 1)]
    room.close()


async def test_a_proxy_that_does_not_count_leaves_both_objectives_unknown(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter = meter_of(room, gateway)
    await meter.read()
    found = report(ObjectivesSpec.model_validate({}), {"git": {0: Hour(good=60)}}, since=0, now=60).routes[0]
    assert [(one.met, one.measured) for one in found.objectives[2:]] == [("unknown", None), ("unknown", None)]
    assert (found.objectives[2].samples, meter.counted()) == ("the proxy does not count calls", {})
    gateway.says = {"git": Counted(1, 0, 0)}
    await meter.read()
    gateway.says = {}  # a reload put another proxy in its place
    await meter.read()
    assert meter.counted() == {}
    room.close()


async def test_metrics_show_the_latest_report_and_make_a_new_one_now_and_then(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter, asked = meter_of(room, gateway), list[float]()
    started(room, adopted=False)
    gateway.says = {"git": Counted(200, 1, 4)}
    await meter.read()

    async def made(since: float) -> Report:
        asked.append(since)
        hours = {"git": {0: Hour(3564.0, 36.0, calls=200, errors=1, counted=True, clients=4)}, "gone": {0: Hour(60.0)}}
        return report(ObjectivesSpec.model_validate({}), hours, since=0, now=3600)

    standing = Standing(room.fleet, meter, room.clock, made)
    assert standing.now().objectives == ()
    await until(lambda: bool(standing.now().objectives))
    # 36 s of an hour are 1 % bad: 99 %; 99.5 % allows 18 s, 36 were used: (18 - 36) / 18 = -100 %
    # 1 of 200 calls is 0.5 %; 1 % allows 2, one is left: 50 %. A route that is not in the plan any more is not shown.
    assert standing.now().objectives == (
        ObjectiveNow("git", "git", "availability", 0.995, 0.99, pytest.approx(-1.0)),  # pyright: ignore[reportArgumentType]
        ObjectiveNow("git", "git", "connect_p95", 0.5, None, None),
        ObjectiveNow("git", "git", "tool_error_rate", 0.01, 0.005, 0.5),
        ObjectiveNow("git", "git", "clients", 10.0, 4.0, None),
    )
    assert standing.now().calls == (CallsNow("git", "git", 200, 1, 4),)
    assert asked == [room.clock.wall() - 7 * 86_400]
    room.clock.move(MADE_EVERY)
    standing.now()
    await until(lambda: len(asked) == 2)
    room.close()


async def test_a_route_that_is_missing_once_is_not_counted_twice(tmp_path: Path) -> None:
    room, gateway = Room(tmp_path), Gateway()
    meter = meter_of(room, gateway)
    started(room, adopted=False)
    both = {"git": Counted(100, 10, 3), "time": Counted(1, 0, 0)}
    for says in (both, {"time": Counted(1, 0, 0)}, both):
        gateway.says = says
        await meter.read()
    total = summed(meter.live()["git"].values())
    assert (total.calls, total.errors) == (100, 10)
    room.close()
