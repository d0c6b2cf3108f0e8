"""What a step of a repair does: to whom, how it is counted, when it is over, and what proves it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Vantage
from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.finding import Finding, Rung
from mcpwatch.watchdog.hands import FleetHands
from mcpwatch.watchdog.ladder import Step
from mcpwatch.watchdog.senses import Context, Senses
from tests.watchdog.step_runtime import Crew, crewed

FINDING = Finding("member_hung", "time", "it hangs", "member:time")


@dataclass
class Watch:
    """What the hands ask of the monitor and its probing, written down."""

    done: list[object] = field(default_factory=list[object])
    nudge_fails: bool = False

    @property
    def probing(self) -> Watch:
        return self

    def renew(self, actor: Any) -> None:
        self.done.append(f"renew {actor.spec.name}")

    def tell_routes(self) -> None:
        self.done.append("routes told")

    async def look(self, member: str, *, deep: bool, brief: bool) -> None:
        self.done.append(f"look at {member}, deep: {deep}, brief: {brief}")

    def of_member(self, member: str) -> tuple[str, ...]:
        return (f"{member} direct", f"{member} route")

    def of(self, subject: str, vantage: Vantage) -> tuple[str, ...]:
        return (f"only {subject} {vantage}",)

    async def run(self, check: str) -> None:
        self.done.append(check)

    async def prepare(self, spec: MemberSpec) -> None:
        self.done.append(f"prepare {spec.name}")

    async def nudge(self, routes: Sequence[str]) -> None:
        self.done.append(("nudge", *routes))
        if self.nudge_fails:
            raise RuntimeFailed("the gateway is away")


def hands_of(crew: Crew) -> tuple[FleetHands, Watch]:
    watch: Any = Watch()
    context: Context = replace(crew.context, senses=Senses(nudge=watch.nudge, prepare=watch.prepare))
    return FleetHands(crew.actors, watch, context), watch


def staged(play: Any) -> None:
    async def story(crew: Crew) -> None:
        actor = crew.actors["time"]
        actor.tell(d.WantUp(crew.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        actor.tell(d.Judged(crew.clock.now(), "ok", 1, Verdict.HEALTHY, proven=True))
        await play(crew, *hands_of(crew))

    crewed((MemberSpec("time", "server", "process", object()),), story)


@pytest.mark.parametrize("rung", ["restart", "restart_proxy"])
def test_a_restart_is_counted_like_a_crash_and_over_when_the_member_runs_again(rung: Rung) -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        actor = crew.actors["time"]
        work = crew.loop.create_task(hands.carry(Step(rung, "time"), FINDING, ()))
        await asyncio.sleep(1.0)
        assert (actor.state.phase, actor.state.generation, actor.state.failures) == (Phase.STARTING, 2, 1)
        assert "repair: it hangs" in {getattr(fact, "reason", "") for fact in crew.facts}
        assert not work.done()
        actor.tell(d.Judged(crew.clock.now(), "ok", 2, Verdict.HEALTHY, proven=True))
        await work
        assert watch.done == []

    staged(play)


def test_a_restart_is_over_too_when_the_member_failed() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        del watch
        crew.runtimes["time"].fails, crew.runtimes["time"].permanent = "no such program", True
        await hands.carry(Step("restart", "time"), FINDING, ())
        assert crew.actors["time"].state.phase is Phase.FAILED

    staged(play)


def test_a_reconnect_nudges_the_routes_and_one_that_fails_harms_nobody() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        for watch.nudge_fails in (False, True):
            await hands.carry(Step("reconnect", "time"), FINDING, ("a", "b"))
        assert watch.done == ["prepare time", ("nudge", "a", "b")] * 2, "what the proxy reads is put right before"
        assert crew.runtimes["time"].started == [1]

    staged(play)


def test_what_was_let_run_again_is_looked_at_anew_unless_that_failed() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        await hands.carry(Step("resume", "time"), FINDING, ())
        assert (crew.runtimes["time"].resumed, watch.done) == (1, ["renew time"])
        crew.runtimes["time"].resume_fails = "no such container"
        await hands.carry(Step("resume", "time"), FINDING, ())
        assert watch.done == ["renew time"]

    staged(play)


def test_a_quarantine_and_a_step_for_a_member_that_is_gone_touch_nothing() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        before = len(crew.facts)
        await hands.carry(Step("quarantine", "time"), FINDING, ())
        await hands.carry(Step("restart", "gone"), FINDING, ())
        await hands.carry(Step("reconnect", "gone"), FINDING, ("a",))
        assert (watch.done, len(crew.facts)) == ([], before)

    staged(play)


def test_a_finding_is_proved_by_the_checks_it_was_made_from_of_its_member_or_of_its_route() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        del crew
        await hands.prove(FINDING)
        assert watch.done == ["time direct", "time route"]
        watch.done.clear()
        await hands.prove(replace(FINDING, about="route:time"))
        assert watch.done == ["only time route"]

    staged(play)


def test_a_look_goes_no_deeper_than_asked_and_what_settled_is_told() -> None:
    async def play(crew: Crew, hands: FleetHands, watch: Watch) -> None:
        del crew
        await hands.look("time")
        await hands.look("time", deep=True)
        await hands.look("time", brief=True)
        hands.settled()
        assert watch.done == [
            "look at time, deep: False, brief: False",
            "look at time, deep: True, brief: False",
            "look at time, deep: False, brief: True",
            "routes told",
        ]

    staged(play)
