"""Whether what answers for a member is its present generation."""

from __future__ import annotations

import asyncio

import pytest

from mcpwatch.model.fact import Troubled
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import MemberState, Phase, Want
from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog import decide as d
from tests.watchdog.scenes import actor
from tests.watchdog.stage import Stage, staged

SPEC = MemberSpec("time", "server", "process", object())


@pytest.mark.parametrize(
    ("living", "lives"),
    [
        (None, False),
        (Incarnation("time", 3, ""), True),
        (Incarnation("time", 2, ""), False),
        (Incarnation("time", None, ""), True),
    ],
)
def test_a_generation_lives_when_its_own_incarnation_is_known_or_one_that_has_no_number(
    living: Incarnation | None, *, lives: bool
) -> None:
    state = MemberState(want=Want.UP, phase=Phase.STARTING, generation=3)
    assert actor(SPEC, state, incarnation=living).lives is lives


def test_what_its_carrier_replaced_before_it_was_proven_is_a_generation_of_its_own() -> None:
    async def play(stage: Stage) -> None:
        stage.actor.adopt(Incarnation("time", 4, "f0", 77))
        stage.actor.replacing = True
        for _ in range(2):  # the second time it is known already
            stage.actor.appeared(78, None)
            assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.STARTING, 5)
        assert stage.actor.planned
        assert stage.actor.state.failures == 0
        assert stage.actor.incarnation is not None
        assert (stage.actor.incarnation.pid, stage.actor.incarnation.fingerprint) == (78, "f1")
        assert {(one.pid, one.generation) for one in stage.runtime.numbered} == {(78, 5)}
        assert (stage.began, stage.runtime.started) == ([4, 5], [])

    staged(play, "theirs")


@pytest.mark.parametrize(("runtime", "looked_at"), [("swarm", True), ("docker", True), ("process", False)])
def test_a_repair_that_an_away_engine_refused_is_not_made_up_for_when_it_is_back(runtime: str, *, looked_at: bool) -> None:
    """The cut that kept the engine away is what made the member fail: when it is over, the member may be well."""

    async def play(stage: Stage) -> None:
        await stage.up()
        stage.runtime.stop_fails = "the managers have no majority"
        stage.actor.tell(d.WantRestart(stage.clock.now(), "repair: it does not answer", counts=True))
        await asyncio.sleep(1.0)
        assert (stage.actor.state.phase is Phase.STARTING) is looked_at
        stage.runtime.stop_fails = ""
        stage.prove()
        await asyncio.sleep(20.0)
        assert stage.runtime.started == ([1] if looked_at else [1, 2])
        assert (stage.actor.state.phase is Phase.RUNNING) is looked_at

    staged(play, spec=MemberSpec("time", "server", runtime, object(), fingerprint="f1"))


def test_a_start_that_failed_behind_a_repair_is_no_repair_whose_stop_may_be_left() -> None:
    """A later stop that an engine refused was taken for that of the repair: it was not told, and not tried again."""

    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.tell(d.WantRestart(stage.clock.now(), "repair: it does not answer", counts=True))
        await asyncio.sleep(1.0)
        assert stage.runtime.started == [1, 2]
        stage.runtime.stop_fails = "the engine is away"
        await asyncio.sleep(61.0)  # its start is over, and was never proven
        assert stage.actor.state.phase is Phase.STOPPING
        assert "the engine is away" in [fact.text for fact in stage.facts if isinstance(fact, Troubled)][-1]
        stage.runtime.stop_fails = ""
        await asyncio.sleep(40.0)
        assert stage.runtime.started == [1, 2, 3]

    staged(play, spec=MemberSpec("time", "server", "docker", object(), fingerprint="f1"))


def test_a_restart_that_an_operator_wants_is_made_when_the_engine_is_back() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.runtime.stop_fails = "the managers have no majority"
        stage.actor.tell(d.WantRestart(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        stage.runtime.stop_fails = ""
        await asyncio.sleep(20.0)
        assert (stage.runtime.started, stage.runtime.stopped) == ([1, 2], [10.0])

    staged(play, spec=MemberSpec("time", "server", "swarm", object(), fingerprint="f1"))
