"""What runtimes tell, at the members it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import MemberPreparing, Troubled
from mcpwatch.model.incarnation import Exited, Gone, Hindered, Paused, Preparing, RuntimeEvent, Startable
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.spec import MemberSpec, PlanDiff
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.runtime_events import RuntimeEventRouter
from mcpwatch.watchdog.senses import Senses
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.step_runtime import Crew, crewed
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


@dataclass
class Ears:
    """What the monitor was told, in its order with the senses."""

    said: list[object] = field(default_factory=list[object])
    front: MemberActor | None = None

    def soon(self) -> None:
        self.said.append("soon")

    def engine(self, runtime: str, gone: str) -> None:
        self.said.append((runtime, gone))

    def renew(self, actor: MemberActor, *, look: bool = False) -> None:
        self.said.append(f"{'look at' if look else 'renew'} {actor.spec.name}")

    def ended(self, event: Exited, tail: tuple[str, ...]) -> None:
        self.said.append((event.member, *tail))

    def proxy(self) -> MemberActor | None:
        return self.front


def heard(
    runtime: str,
    *events: RuntimeEvent | RuntimeFailed,
    play: Callable[[Crew, Ears], None],
    seconds: float = 0.01,
    living: Any = None,
) -> None:
    """Let a runtime that carries one running member tell these events, and look at what came of them."""

    async def story(crew: Crew) -> None:
        ears: Any = Ears()
        senses = Senses(hold=lambda: ears.said.append("hold"), tail=lambda member: (f"last words of {member}",))
        router = RuntimeEventRouter(crew.actors, ears, replace(crew.context, senses=senses))
        crew.put("one", want=Want.UP, phase=Phase.RUNNING, generation=1)
        crew.actors["one"].incarnation = living
        crew.runtimes["one"].events = list(events)
        crew.spawn(router.follow(crew.runtimes["one"]), "follow")
        await asyncio.sleep(seconds)
        play(crew, ears)

    crewed((MemberSpec("one", "server", runtime, object()),), story)


def warned(crew: Crew) -> list[tuple[str, str, str, str]]:
    return [(fact.level, fact.subject, fact.member, fact.text) for fact in crew.facts if isinstance(fact, Troubled)]


def test_what_an_engine_says_of_a_member_is_told_when_it_is_new_and_taken_back_in_silence() -> None:
    pending = Hindered("one", "unschedulable", "no node has room")

    def play(crew: Crew, ears: Ears) -> None:
        assert warned(crew) == [
            ("warning", "unschedulable one", "one", "one: no node has room"),
            ("info", "unschedulable one", "one", "one: no longer unschedulable"),
            ("warning", "image one", "one", "one: no such image"),
            ("info", "image one", "one", "one: no longer image"),
        ]
        assert crew.actors["one"].hindered == ("", "")
        assert crew.actors["one"].reason == "no such image"
        assert ears.said == ["soon"] * 3 + ["look at one", "soon"], "nothing new is nothing to consider"

    worded = replace(pending, text="no node has room at all")
    heard("kubernetes", pending, pending, worded, Hindered("one", "image", "no such image"), Hindered("one"), play=play)


def test_one_that_is_let_run_again_is_looked_at_anew() -> None:
    """A restart must not answer what was seen while somebody had paused it, or had it off its network."""

    def play(crew: Crew, ears: Ears) -> None:
        assert not crew.actors["one"].paused
        assert ears.said == ["soon", "look at one", "soon"]

    heard("docker", Paused("one"), Paused("one", back=True), play=play)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_member_that_waits_for_its_container_is_started_when_somebody_starts_that(phase: Phase) -> None:
    waits = phase in (Phase.BACKOFF, Phase.FAILED)

    async def story(crew: Crew) -> None:
        crew.put("one", want=Want.UP, phase=phase, generation=1, wake_at=Instant(crew.context.clock.now() + 60.0))
        ears: Any = Ears()
        router = RuntimeEventRouter(crew.actors, ears, crew.context)
        crew.runtimes["one"].events = [Startable("one"), Startable("nobody")]
        crew.spawn(router.follow(crew.runtimes["one"]), "follow")
        await asyncio.sleep(0.01)
        assert (crew.actors["one"].state.generation, crew.actors["one"].state.phase is phase) == (
            (2, False) if waits else (1, True)
        )

    crewed((MemberSpec("one", "server", "docker", object()),), story)


def test_what_is_said_of_a_member_that_is_not_known_is_passed_over() -> None:
    def play(crew: Crew, ears: Ears) -> None:
        assert (warned(crew), ears.said) == ([], [])

    heard("docker", Hindered("gone", "image", "no such image"), Exited("gone", 1, code=1), Paused("gone"), play=play)


def test_an_end_holds_other_facts_back_and_is_told_with_the_last_words_of_the_member() -> None:
    def play(crew: Crew, ears: Ears) -> None:
        assert ears.said == ["hold", ("one", "last words of one")]
        assert crew.actors["one"].last_exit == "exited with code 3: last words of one"

    heard("process", Exited("one", 1, code=3), play=play)


@pytest.mark.parametrize(("detail", "why"), [("it hung up", "it hung up"), ("", "away")])
def test_an_engine_that_is_away_takes_no_member_along_and_is_remembered_until_it_is_back(detail: str, why: str) -> None:
    def play(crew: Crew, ears: Ears) -> None:
        assert ears.said == [("docker", why), "soon", ("docker", ""), "soon"]
        assert [level for level, *_ in warned(crew)] == ["warning", "info"]
        assert crew.actors["one"].state.phase is Phase.RUNNING

    heard("docker", Gone("docker", detail), Gone("docker", back=True), play=play)


def test_a_watch_that_breaks_is_told_and_begun_again_after_a_second() -> None:
    def early(crew: Crew, ears: Ears) -> None:
        assert warned(crew) == [("error", "runtime process", "", "no sight")]
        assert ears.said == []

    def late(crew: Crew, ears: Ears) -> None:
        del crew
        assert ears.said == ["soon"]

    for seconds, play in ((0.99, early), (1.01, late)):
        heard("process", RuntimeFailed("no sight"), Paused("one"), play=play, seconds=seconds)


@pytest.mark.parametrize(
    ("phase", "planned"), [(None, False), (Phase.RUNNING, False), (Phase.STOPPING, True), (Phase.BACKOFF, False)]
)
def test_what_goes_with_a_proxy_that_is_being_stopped_is_planned(phase: Phase | None, *, planned: bool) -> None:
    async def story(crew: Crew) -> None:
        ears: Any = Ears(front=crew.actors["proxy"] if phase else None)
        router = RuntimeEventRouter(crew.actors, ears, crew.context)
        crew.put("inner", want=Want.UP, phase=Phase.RUNNING, generation=1)
        crew.put("proxy", want=Want.UP, phase=phase or Phase.RUNNING, generation=1)
        crew.runtimes["inner"].events = [Gone("hosted", "it hung up")]
        crew.spawn(router.follow(crew.runtimes["inner"]), "follow")
        await asyncio.sleep(0.01)
        assert crew.actors["inner"].state.phase is Phase.BACKOFF
        assert crew.actors["inner"].planned is planned
        assert ears.said == ["soon"]

    crewed((MemberSpec("inner", "server", "hosted", object()), MemberSpec("proxy", "proxy", "process", object())), story)


def test_what_was_told_of_a_member_is_over_when_the_plan_has_it_no_more() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.events["process"].put_nowait(Hindered("own", "network_disconnected", "its container is not on the network net"))
        await asyncio.sleep(0.01)
        remaining = replace(fleet.plan(), members=tuple(one for one in fleet.plan().members if one.name != "own"))
        remaining = replace(remaining, routes=tuple(one for one in remaining.routes if one.member != "own"))
        await fleet.apply(remaining, PlanDiff(remove=("own",)))
        about = [(subject, cleared) for subject, _, cleared in troubles(world)]
        assert about == [("network_disconnected own", False), ("network_disconnected own", True)]

    staged(play)


@pytest.mark.slow
def test_a_container_of_others_that_left_its_network_is_named_and_never_restarted_not_even_at_its_start() -> None:
    left = Hindered("own", "network_left", "its container is not on the network net any more")

    async def play(world: World, fleet: Fleet) -> None:
        world.servers["own"].fault = "refuse"
        world.mark()
        world.events["process"].put_nowait(left)
        await asyncio.sleep(200.0)
        assert world.starts["own"] == 1
        found = next(one for one in fleet.view().diagnoses if one.subject == "own")
        assert (found.cause, found.rung) == ("network_left", None)
        assert found.next.startswith("left to a person: put its container on that network again")

    staged(play)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY, [Server("own", "process", cold=1e6)], start_grace=5.0) as (world, fleet):
            await asyncio.sleep(1.0)
            world.events["process"].put_nowait(left)
            await asyncio.sleep(200.0)
            assert world.starts["own"] == 1, "another start leaves it where it is"
            assert phases(fleet)["own"] is Phase.RUNNING

    run(story)
