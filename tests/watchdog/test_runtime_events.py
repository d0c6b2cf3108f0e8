"""What runtimes tell, at the members it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mcpwatch.model.fact import MemberPreparing, Troubled
from mcpwatch.model.member import Phase
from mcpwatch.ports import Gone, Paused, Preparing
from mcpwatch.watchdog.fleet import Fleet
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.world import GATEWAY, Server, World
from tests.watchdog.world_prober import watched

Play = Callable[[World, Fleet], Awaitable[None]]


def staged(play: Play) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        servers = [Server("inner", "hosted"), Server("own", "process")]
        async with watched(loop, clock, GATEWAY, servers) as (world, fleet):
            await asyncio.sleep(30.0)
            await play(world, fleet)

    run(story)


def phases(fleet: Fleet) -> dict[str, Phase]:
    return {name: actor.state.phase for name, actor in fleet.actors.items()}


def troubles(world: World) -> list[tuple[str, str, bool]]:
    return [(fact.subject, fact.text, fact.cleared) for fact in world.facts if isinstance(fact, Troubled)]


def test_a_carrier_that_goes_takes_along_what_it_carries_and_nobody_else() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.events["hosted"].put_nowait(Gone("hosted", "it hung up"))
        await asyncio.sleep(0.01)
        assert phases(fleet) == {"inner": Phase.BACKOFF, "own": Phase.RUNNING, "proxy": Phase.RUNNING}
        assert fleet.actors["inner"].last_exit == "its carrier is away: it hung up"
        assert fleet.actors["inner"].state.failures == 0
        assert troubles(world) == [("runtime hosted", "runtime hosted is away: it hung up", False)]
        assert not fleet.actors["inner"].planned

    staged(play)


def test_a_carrier_that_is_back_takes_nobody_along() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.events["hosted"].put_nowait(Gone("hosted", back=True))
        await asyncio.sleep(0.01)
        assert set(phases(fleet).values()) == {Phase.RUNNING}
        assert troubles(world) == [("runtime hosted", "runtime hosted is back", True)]

    staged(play)


def test_a_runtime_of_our_own_processes_that_loses_sight_takes_nobody_along() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.events["process"].put_nowait(Gone("process", "no sight"))
        await asyncio.sleep(0.01)
        assert set(phases(fleet).values()) == {Phase.RUNNING}

    staged(play)


def test_what_goes_with_a_proxy_that_is_restarted_as_asked_is_planned() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.closing = True
        await fleet.command("restart", "proxy")
        world.events["hosted"].put_nowait(Gone("hosted", "it hung up"))
        await asyncio.sleep(0.01)
        assert fleet.actors["inner"].planned
        await asyncio.sleep(20.0)
        assert set(phases(fleet).values()) == {Phase.RUNNING}

    staged(play)


def test_when_the_watchdog_stops_a_carrier_that_goes_is_no_trouble() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.closing = True
        fleet.close()
        world.events["hosted"].put_nowait(Gone("hosted", "it hung up"))
        await asyncio.sleep(0.01)
        assert troubles(world) == []
        assert fleet.actors["inner"].state.phase is Phase.RUNNING

    staged(play)


def test_what_is_prepared_is_the_reason_shown_and_a_pause_is_remembered_until_it_is_over() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.events["process"].put_nowait(Preparing("own", "pulling the image"))
        world.events["process"].put_nowait(Preparing("nobody", "pulling the image"))
        world.events["process"].put_nowait(Paused("own"))
        await asyncio.sleep(0.001)
        assert fleet.actors["own"].reason == "pulling the image"
        assert fleet.actors["own"].paused
        told = [fact.text for fact in world.facts if isinstance(fact, MemberPreparing)]
        assert told == ["own: pulling the image", "nobody: pulling the image"]
        world.events["process"].put_nowait(Paused("own", back=True))
        await asyncio.sleep(0.001)
        assert not fleet.actors["own"].paused

    staged(play)
