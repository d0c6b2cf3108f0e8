"""A start that is due to be proven waits for the probe that may prove it, and for no other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.fact import MemberExited
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.pending_proofs import LATE, PendingProofs
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.small_fleet import CHECK, SmallFleet, fleet_story, member, plan

SLOW = member("a", checks=(replace(CHECK, timeout=10.0),), start_grace=5.0)
URL = "http://h/a"


def test_a_start_whose_only_probe_is_still_on_its_way_when_its_grace_ends_is_proven_by_it() -> None:
    async def play(small: SmallFleet) -> None:
        small.takes[URL] = 8.0
        await small.fleet.begin(plan(SLOW))
        await asyncio.sleep(7.0)
        assert small.phases()["a"] is Phase.STARTING
        await asyncio.sleep(2.0)
        assert (small.phases()["a"], small.generations()["a"]) == (Phase.RUNNING, 1)

    fleet_story(play)


def test_a_start_is_over_when_that_probe_fails_however_many_follow_it() -> None:
    async def play(small: SmallFleet) -> None:
        small.takes[URL] = 8.0
        small.answers[URL] = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.INITIALIZE)
        await small.fleet.begin(plan(SLOW))
        await asyncio.sleep(7.0)
        assert small.generations()["a"] == 1
        await asyncio.sleep(1.5)
        assert small.runtimes["process"].stopped, "what the next probe may say comes too late"

    fleet_story(play)


def test_a_prober_that_never_comes_back_holds_no_start_up() -> None:
    async def play(small: SmallFleet) -> None:
        small.takes[URL] = 1e6
        await small.fleet.begin(plan(SLOW))
        await asyncio.sleep(10.0 + LATE + 4.0)
        assert not small.runtimes["process"].stopped
        await asyncio.sleep(2.0)
        assert small.runtimes["process"].stopped

    fleet_story(play)


def test_a_member_that_ends_while_its_probe_is_waited_for_is_told_to_have_ended() -> None:
    async def play(small: SmallFleet) -> None:
        small.takes[URL] = 9.0
        await small.fleet.begin(plan(SLOW))
        await asyncio.sleep(6.0)
        small.fleet.actors["a"].exited(Exited("a", 1, 3))
        await asyncio.sleep(0.5)
        assert [text for text in small.texts(MemberExited) if "code 3" in text]
        assert small.generations()["a"] == 2

    fleet_story(play)


@pytest.mark.parametrize(("began", "due", "waits"), [(1.0, 2.0, True), (2.0, 2.0, False), (3.0, 2.0, False)])
def test_only_a_probe_that_began_before_is_waited_for(began: float, due: float, waits: bool) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        proofs = PendingProofs()
        assert proofs.before("c", Instant(due), 1.0) is None
        with proofs.under_way("c", Instant(began)):
            over = proofs.before("c", Instant(due), 1.0)
            assert (over is not None) is waits
            assert proofs.before("d", Instant(due), 1.0) is None
            with proofs.under_way("c", Instant(began)):
                pass
        assert proofs.before("c", Instant(due), 1.0) is None
        if over is not None:
            await over()
            assert loop.time() == 0.0, "it is over already"

    run(story)
