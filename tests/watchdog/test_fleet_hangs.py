"""Hangs that end by themselves, of every length against every period and timeout: nothing that answers again is restarted."""

from __future__ import annotations

import asyncio
import random

import pytest

from mcpwatch.model.fact import RepairTried
from mcpwatch.watchdog.doubt import BRIEF, BRIEF_MARGIN
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog import world_prober
from tests.watchdog.world import GATEWAY, PROXY, TBXARK, Kind, Server
from tests.watchdog.world_prober import watched

MARGIN = 0.5
"""Seconds from the end of a probe to what follows from it, at most."""
TIMES = [(2.0, 1.0), (5.0, 3.0), (5.0, 10.0), (10.0, 5.0), (15.0, 10.0), (30.0, 10.0), (30.0, 30.0)]
"""Periods of the checks, and their timeouts."""


def hung(monkeypatch: pytest.MonkeyPatch, interval: float, timeout: float, seconds: float, seed: int) -> None:
    """A server, or the proxy, is silent for so long; what was asked meanwhile is lost."""
    chance = random.Random(seed)
    gateway = chance.random() < 0.5
    kinds: tuple[Kind, ...] = ("process", "hosted") if gateway else ("process", "inside")
    servers = [Server(f"s{n}", chance.choice(kinds), cold=0.3, caches=not gateway and n == 1) for n in range(3)]
    victim = PROXY if chance.random() < 0.2 else chance.choice(servers).name
    begins = 3 * interval + chance.uniform(0.0, interval)
    monkeypatch.setattr(world_prober, "INTERVAL", interval)
    monkeypatch.setattr(world_prober, "TIMEOUT", timeout)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY if gateway else TBXARK, servers, canary=frozenset({"s0"})) as (world, fleet):
            world.stale_truth = min(timeout, BRIEF + BRIEF_MARGIN) + MARGIN
            await asyncio.sleep(begins)
            assert not fleet.view().diagnoses
            server = world.proxy if victim == PROXY else world.servers[victim]
            server.fault = "hang"
            for _ in range(round(seconds * 10)):
                await asyncio.sleep(0.1)
                world.mark()
            server.fault = "none"
            assert not world.harm, (seconds, victim, world.harm)
            await asyncio.sleep(240.0)
            tried = [(round(one.at - 1.8e9, 1), one.text) for one in world.facts if isinstance(one, RepairTried)]
            story = (seconds, victim, gateway, f"began {begins:.1f}", tried)
            assert not world.harm, (story, world.harm)
            assert not fleet.view().diagnoses, story

    run(story)


LENGTHS = tuple(enumerate((1.0, 4.0, 7.0, 9.0, 13.0, 18.0, 24.0, 30.0)))


@pytest.mark.sample(1)
@pytest.mark.parametrize("lengths", [LENGTHS[1:4:2], LENGTHS[5::2], LENGTHS[::2]], ids=["4 and 9 s", "18 and 30 s", "1 to 24 s"])
@pytest.mark.parametrize(("interval", "timeout"), TIMES)
def test_nothing_that_answers_when_it_is_asked_afresh_is_restarted(
    monkeypatch: pytest.MonkeyPatch, interval: float, timeout: float, lengths: tuple[tuple[int, float], ...]
) -> None:
    for seed, seconds in lengths:
        hung(monkeypatch, interval, timeout, seconds, seed + int(100 * interval + timeout))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("interval", "timeout"), TIMES)
def test_nor_is_it_after_a_hang_of_any_length(monkeypatch: pytest.MonkeyPatch, interval: float, timeout: float) -> None:
    for seed in range(120):
        hung(monkeypatch, interval, timeout, 1.0 + seed % 30 + random.Random(seed).random(), 1000 + seed)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("interval", "timeout"), TIMES)
def test_one_that_hangs_for_good_is_still_restarted_soon(monkeypatch: pytest.MonkeyPatch, interval: float, timeout: float) -> None:
    monkeypatch.setattr(world_prober, "INTERVAL", interval)
    monkeypatch.setattr(world_prober, "TIMEOUT", timeout)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        servers = [Server("a", "process", cold=0.3), Server("b", "process", cold=0.3)]
        async with watched(loop, clock, GATEWAY, servers) as (world, fleet):
            await asyncio.sleep(2 * interval)
            world.servers["a"].fault = "hang"
            bound = (
                interval + 2 * timeout + 5.0 + 2 * (timeout + BRIEF)
            )  # two failures, and a check that runs when it is asked again
            await asyncio.sleep(bound)
            assert world.starts["a"] == 2
            assert not world.harm
            assert not fleet.view().diagnoses

    run(story)
