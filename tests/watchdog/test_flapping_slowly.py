"""One that is well for seconds and ill for seconds, again and again, is told once as that, however slowly it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.flapping import OUTAGES
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.history import CheckHistory, Sight, fold, renew
from tests.watchdog import world_prober
from tests.watchdog.test_fleet_table import causes, staged, tried, verdict
from tests.watchdog.world import GATEWAY, Fault, Server, World

CHECK = CheckSpec("mcp", failure_threshold=3, success_threshold=1, interval=1.0)
GOOD, BAD = ProbeResult(Outcome.SUCCESS), ProbeResult(Outcome.FAILURE)


def probed(history: CheckHistory, begin: float, until: float, result: ProbeResult, *, proxy: int = 1) -> Iterator[CheckHistory]:
    """The history after each probe, one a second."""
    at = begin
    while at < until:
        sight = Sight(Instant(at), Instant(at), WallTime(at), 1, proxy)
        history = fold(history, result, CHECK, sight)
        yield history
        at += 1.0


def turned(well: float, ill: float, turns: int, history: CheckHistory, begin: float = 0.0) -> tuple[CheckHistory, float]:
    """The history after so many turns of `well` and `ill` seconds, and when that is."""
    for _ in range(turns):
        for seconds, result in ((well, GOOD), (ill, BAD)):
            *_, history = probed(history, begin, begin + seconds, result)
            begin += seconds
    return history, begin


@pytest.mark.parametrize("well", [3.0, 7.0, 12.0, 25.0])
@pytest.mark.parametrize("ill", [3.0, 5.0, 7.0, 9.0, 20.0])
def test_outages_that_come_and_go_are_told_as_one_trouble_from_the_fourth_on_and_never_one_by_one_again(
    well: float, ill: float
) -> None:
    history, now = turned(well, ill, OUTAGES if ill < 10.0 else OUTAGES + 1, CheckHistory())
    for _ in range(20):
        for seconds, result in ((well, GOOD), (ill, BAD)):
            for latest in probed(history, now, now + seconds, result):
                history = latest
                assert (history.flapping, history.verdict) == (True, Verdict.DEGRADED), latest.at
            now += seconds
        assert abs(history.rate - ill / (well + ill)) < 0.15
    *_, history = probed(history, now, now + 2.0 * (well + ill) + 20.0, GOOD)
    assert (history.flapping, history.verdict) == (False, Verdict.HEALTHY), "it is calm"


@pytest.mark.parametrize("ill", [3.0, 7.0, 20.0])
def test_an_outage_that_lasts_is_one_though_shorter_ones_went_before(ill: float) -> None:
    history, now = turned(10.0, ill, OUTAGES + 1, CheckHistory())
    *_, history = probed(history, now, now + 2.0 * ill + 12.0, BAD)
    assert (history.flapping, history.verdict) == (False, Verdict.UNHEALTHY)


@pytest.mark.parametrize(("well", "ill"), [(60.0, 27.0), (100.0, 7.0), (7.0, 60.0), (40.0, 2.0)])
def test_outages_that_come_seldom_and_failures_that_are_none_are_no_flapping(well: float, ill: float) -> None:
    history, now = turned(well, ill, OUTAGES + 2, CheckHistory())
    assert not history.flapping
    assert history.verdict is (Verdict.UNHEALTHY if ill > 2.0 else Verdict.HEALTHY)
    assert now > 0.0


def test_what_another_incarnation_or_another_proxy_did_counts_for_none() -> None:
    history, now = turned(12.0, 7.0, OUTAGES - 1, CheckHistory())
    assert not renew(history, 2).outages
    for proxy, flaps in ((1, True), (2, False)):
        *_, healed = probed(history, now, now + 7.0, GOOD, proxy=proxy)
        *_, again = probed(healed, now + 7.0, now + 12.0, BAD, proxy=proxy)
        assert again.flapping is flaps


@pytest.mark.sample(1)
@pytest.mark.parametrize("fault", ["refuse", "broken", "auth", "overloaded"])
@pytest.mark.parametrize("seconds", [7.0, 15.0])
def test_a_member_that_comes_and_goes_is_told_as_flapping_and_nothing_is_restarted(
    fault: Fault, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world_prober, "INTERVAL", 1.0)

    async def play(world: World, fleet: Fleet) -> None:
        server = world.servers["e"]
        await asyncio.sleep(30.0)
        for turn in range(20):
            server.fault = fault if server.fault == "none" else "none"
            for _ in range(int(seconds)):
                await asyncio.sleep(1.0)
                if turn > 2 * OUTAGES:
                    assert causes(fleet) == ["flapping"]
                    assert verdict(fleet, "e") is Verdict.DEGRADED
        assert {rung for rung, _ in tried(world)} <= {"reconnect"}
        assert not world.harm
        server.fault = "none"
        await asyncio.sleep(100.0)
        assert causes(fleet) == []

    staged(GATEWAY, [Server("e", "url")], play)
