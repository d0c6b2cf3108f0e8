"""Who waits for whom, and how long: starts wait for what they need, stops go the other way round, and no wait is for ever."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.member import Phase, Want
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.order import at_rest, others_first, stop_in_order
from tests.watchdog.step_runtime import Crew, crewed

DB = MemberSpec("db", "server", "process", object(), start_grace=20.0)
APP = MemberSpec("app", "server", "process", object(), depends_on=("db", "unheard of"))
INNER = MemberSpec("inner", "server", "hosted", object())
PROXY = MemberSpec("proxy", "proxy", "process", object())
EVERYBODY = (DB, APP, INNER, PROXY)


async def waited(crew: Crew, spec: MemberSpec, *, mounts_late: bool = True) -> float:
    """Seconds that a start waits for others."""
    began = crew.loop.time()
    plan = Plan(tuple(actor.spec for actor in crew.actors.values()))
    await others_first(spec, plan, crew.actors, mounts_late=mounts_late)
    return crew.loop.time() - began


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        ({"want": Want.UP, "phase": Phase.RUNNING}, 0.0),
        ({"want": Want.UP, "phase": Phase.FAILED}, 0.0),
        ({"want": Want.UP, "phase": Phase.STARTING}, 25.0),
        ({"want": Want.UP, "phase": Phase.BACKOFF}, 25.0),
        ({"want": Want.DOWN, "phase": Phase.STOPPED}, 25.0),  # the file wants it up: it is about to start
    ],
)
def test_a_member_waits_for_what_it_depends_on_but_never_longer_than_its_grace_and_a_margin(state: Any, seconds: float) -> None:
    async def play(crew: Crew) -> None:
        crew.put("db", **state)
        assert await waited(crew, APP) == pytest.approx(seconds)

    crewed((DB, APP), play)


def test_a_member_goes_on_as_soon_as_what_it_waits_for_runs() -> None:
    async def play(crew: Crew) -> None:
        crew.actors["db"].tell(d.WantUp(crew.clock.now(), "wanted"))

        async def prove() -> None:
            await asyncio.sleep(7.0)
            crew.actors["db"].tell(d.Judged(crew.clock.now(), "ok", 1, proven=True))

        crew.spawn(prove(), "prove")
        assert await waited(crew, APP) == pytest.approx(7.0)

    crewed((DB, APP), play)


def test_what_is_down_because_the_file_says_so_is_not_waited_for_and_what_an_operator_started_is() -> None:
    async def play(crew: Crew) -> None:
        assert await waited(crew, APP) == 0.0
        crew.put("db", want=Want.UP, phase=Phase.STARTING)
        assert await waited(crew, APP) == pytest.approx(25.0)

    crewed((replace(DB, want_up=False), APP), play)


def test_a_proxy_that_connects_once_waits_for_everybody_it_does_not_host_and_others_only_for_what_they_need() -> None:
    async def play(crew: Crew) -> None:
        grace = 25.0 + APP.start_grace + 5.0
        assert await waited(crew, PROXY, mounts_late=False) == pytest.approx(grace)
        assert await waited(crew, PROXY, mounts_late=True) == 0.0
        assert await waited(crew, DB, mounts_late=False) == 0.0

    crewed(EVERYBODY, play)


def test_all_stop_the_hosted_then_the_proxy_then_each_before_what_it_depends_on() -> None:
    async def play(crew: Crew) -> None:
        ends: list[tuple[float, str]] = []
        for name, actor in crew.actors.items():
            crew.runtimes[name].stop_takes = 1.0
            crew.runtimes[name].on_stop = lambda name=name: ends.append((crew.loop.time(), name))
            actor.tell(d.WantUp(crew.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        await stop_in_order(list(crew.actors.values()))
        assert ends == [(2.0, "inner"), (3.0, "proxy"), (4.0, "third"), (4.0, "app"), (5.0, "db")]
        assert {actor.state.phase for actor in crew.actors.values()} == {Phase.STOPPED}
        assert {actor.reason for actor in crew.actors.values()} == {"the watchdog stops"}

    crewed((*EVERYBODY, MemberSpec("third", "server", "process", object())), play)


@pytest.mark.parametrize("room", [True, False])
def test_a_member_whose_stops_failed_is_stopped_once_more_when_the_others_have_let_go(
    caplog: pytest.LogCaptureFixture, room: bool
) -> None:
    async def play(crew: Crew) -> None:
        for actor in crew.actors.values():
            actor.tell(d.WantUp(crew.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        crew.runtimes["app"].stop_fails = "/proc: cannot be read: Too many open files"
        if room:
            crew.loop.call_later(17.0, lambda: setattr(crew.runtimes["app"], "stop_fails", ""))
        await stop_in_order(list(crew.actors.values()))
        assert (crew.runtimes["app"].stopped == [0.0]) is room
        assert ("app: may still run: /proc: cannot be read" in caplog.text) is not room

    crewed((DB, APP), play)


def test_members_that_depend_on_one_another_are_stopped_together() -> None:
    async def play(crew: Crew) -> None:
        for actor in crew.actors.values():
            actor.tell(d.WantUp(crew.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        await stop_in_order(list(crew.actors.values()))
        assert {actor.state.phase for actor in crew.actors.values()} == {Phase.STOPPED}

    crewed((replace(DB, depends_on=("app",)), APP), play)


@pytest.mark.parametrize(("phase", "seconds"), [(Phase.STOPPED, 0.0), (Phase.FAILED, 0.0), (Phase.STOPPING, 14.0)])
def test_a_stop_is_waited_for_until_it_was_forced_and_its_margin_is_over(phase: Phase, seconds: float) -> None:
    async def play(crew: Crew) -> None:
        crew.put("db", phase=phase)
        began = crew.loop.time()
        await at_rest(crew.actors["db"])
        assert crew.loop.time() - began == pytest.approx(seconds)

    crewed((replace(DB, stop_grace=4.0),), play)
