"""Generated fleet histories in virtual time: members, kinds, traits of the proxy, faults, recoveries; and what must always hold.

Nothing healthy is ever restarted. What a rung can heal is healed. A repair that was not proved is not repeated for ever. Every
cause ends. A prober that breaks is never a reason to blame.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.watchdog.finding import USELESS
from mcpwatch.watchdog.fleet import Fleet
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.world import GATEWAY, PROXY, RESTARTABLE, TBXARK, Fault, Kind, Server, World
from tests.watchdog.world_prober import watched

SETTLE = 240.0
"""Seconds after the last fault within which everything that can be healed is."""

BY_ITSELF: tuple[Fault, ...] = ("hang", "refuse", "auth", "overloaded", "licence", "empty", "dependency", "broken", "odd", "half")
OURS: tuple[Fault, ...] = (
    "hang", "auth", "overloaded", "licence", "empty", "dependency", "broken", "wrong_port", "stopped", "odd", "half", "moved",
)  # fmt: skip


@dataclass(frozen=True)
class Trouble:
    """A fault of a part for so many seconds (for ever, until a restart heals it: `None`). `crash` is an end of its process."""

    member: str
    fault: Fault | str
    seconds: float | None
    after: float


def generated(seed: int) -> tuple[bool, list[Server], list[Trouble]]:
    """Whether the proxy is the gateway, what is behind it, and what happens."""
    chance = random.Random(seed)
    gateway = chance.random() < 0.5
    kinds: tuple[Kind, ...] = ("process", "url", "hosted") if gateway else ("process", "url", "inside")
    servers = [
        Server(f"s{n}", chance.choice(kinds), cold=chance.choice((0.3, 2.0, 12.0)), caches=chance.random() < 0.3)
        for n in range(chance.randint(2, 5))
    ]
    for server in servers:
        server.caches = server.caches and server.kind == "process"
    return gateway, servers, [_trouble(chance, servers) for _ in range(chance.randint(1, 3))]


def _trouble(chance: random.Random, servers: list[Server]) -> Trouble:
    after = chance.uniform(20.0, 90.0)
    if chance.random() < 0.15:
        return Trouble(PROXY, chance.choice(("hang", "crash", "stopped")), None, after)
    server = chance.choice(servers)
    if server.kind != "url" and chance.random() < 0.3:
        return Trouble(server.name, "crash", None, after)
    if server.caches and chance.random() < 0.5:
        return Trouble(server.name, "child", None, after)
    fault = chance.choice(BY_ITSELF if server.kind == "url" else OURS)
    if fault in ("wrong_port", "moved") and server.kind != "process":
        fault = "hang"
    heals = server.kind != "url" and fault in {*RESTARTABLE, "stopped"}
    return Trouble(server.name, fault, None if heals and chance.random() < 0.6 else chance.uniform(3.0, 100.0), after)


async def suffer(world: World, trouble: Trouble) -> None:
    """Let it happen."""
    await asyncio.sleep(trouble.after)
    server = world.proxy if trouble.member == PROXY else world.servers[trouble.member]
    if trouble.fault == "crash":
        if server.alive:
            world.end(trouble.member)
        return
    server.fault = trouble.fault  # type: ignore[assignment]
    world.mark()
    if trouble.seconds is not None:
        await asyncio.sleep(trouble.seconds)
        world.mark()
        server.fault = "none"


def check(world: World, fleet: Fleet, story: str) -> None:
    """What must hold at the end."""
    assert not world.harm, story
    counted = Counter((one.about, one.cause, one.step) for one in fleet.mender.attempts if one.outcome == "useless")
    assert all(number <= USELESS for (_, _, step), number in counted.items() if step.rung != "quarantine"), story
    lost = [name for name, server in world.servers.items() if server.fault == "none" and not world.well(name)]
    assert not lost, f"not healed: {lost}\n{story}"
    view = fleet.view()
    unseen = [route.name for route in view.routes if route.verdict not in (Verdict.HEALTHY, Verdict.DEGRADED)]
    assert not unseen, f"not seen to be well: {unseen}\n{story}"
    left = [found for found in view.diagnoses if found.cause != "flapping"]
    assert not left, f"a cause that does not end: {left}\n{story}"


def told(world: World) -> str:
    names = {"diagnosed", "repair_tried", "repair_proved", "route_changed"}
    return "\n".join(f"{fact.at - 1.8e9:8.2f} {fact.name}: {fact.text}" for fact in world.facts if fact.name in names)


def play(seed: int, broken: float = 0.0) -> None:
    gateway, servers, troubles = generated(seed)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY if gateway else TBXARK, servers, canary=frozenset({"s0"})) as (world, fleet):
            world.broken_prober = broken
            await asyncio.sleep(30.0)
            for trouble in troubles:
                await suffer(world, trouble)
            await asyncio.sleep(SETTLE)
            kind = "gateway" if gateway else "tbxark"
            who = "; ".join(f"{one.name} {one.kind} cold {one.cold}{' caches' if one.caches else ''}" for one in servers)
            check(world, fleet, f"seed {seed}, {kind}: {who}\n{troubles}\n{told(world)}\n{world.harm}")

    run(story)


@pytest.mark.sample(1)
@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_nothing_healthy_is_restarted_and_what_can_be_healed_is(seed: int) -> None:
    play(seed)


def test_a_hosted_server_that_refuses_its_gateway_at_a_start_is_named_by_that_and_not_started_again_and_again() -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY, [Server("m", "hosted"), Server("h", "hosted")]) as (world, fleet):
            await asyncio.sleep(30.0)
            world.servers["m"].fault = "licence"
            world.end(PROXY)
            await asyncio.sleep(300.0)
            assert world.starts["m"] == 2, "with its gateway alone"
            assert not world.harm
            assert [found.cause for found in fleet.view().diagnoses] == ["licence"]

    run(story)


@pytest.mark.sample(3)
@pytest.mark.parametrize("pause", [0.0, 0.02, 0.06, 0.1, 0.3, 1.0, 5.0])
def test_a_stopped_hosted_server_that_is_started_while_its_gateway_is_replaced_starts_once(pause: float) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY, [Server("m", "hosted"), Server("h", "hosted")]) as (world, fleet):
            await asyncio.sleep(30.0)
            world.stale_truth = 1e9  # an operator may stop what is well
            world.mark()
            await fleet.command("stop", "m")
            await asyncio.sleep(10.0)
            await fleet.command("restart", PROXY)
            await asyncio.sleep(pause)
            await fleet.command("start", "m")
            await asyncio.sleep(30.0)
            assert world.starts == {"m": 2, "h": 2, PROXY: 2}
            assert fleet.view().healthy

    run(story)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_many_more_histories_keep_the_same_promises() -> None:
    for seed in range(100, 160):
        play(seed)
    for seed in range(300, 316):
        play(seed, broken=0.2)
