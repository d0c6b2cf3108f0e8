"""A runtime of which the carrier brings back some members: those are followed, replaced without a stop, and fenced as any other."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from mcpwatch.app.leader import FencedRuntime
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Replacing, Sharing
from mcpwatch.watchdog import decide as d
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.stage import Stage
from tests.watchdog.step_runtime import StepRuntime

ONE = MemberSpec("one", "server", "step", object())
TWO = MemberSpec("two", "server", "step", object())


class Shared(StepRuntime):
    """The carrier keeps `one`."""

    def __init__(self) -> None:
        super().__init__()
        self.released: list[str] = []

    def supervises(self, spec: MemberSpec) -> Literal["ours", "theirs"]:
        return "theirs" if spec.name == "one" else "ours"

    async def release(self, spec: MemberSpec) -> None:
        self.released.append(spec.name)


class Held:
    """A fence as a test wants it."""

    term = 1

    def __init__(self, *, holds: bool) -> None:
        self._holds = holds

    def holds(self) -> bool:
        return self._holds


def test_a_member_that_its_carrier_keeps_is_waited_for_after_its_end_and_one_of_ours_is_started() -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        for spec, phase in ((ONE, Phase.BACKOFF), (TWO, Phase.STARTING)):
            stage = Stage(loop, clock, Shared(), spec)
            await stage.up()
            stage.actor.exited(Exited(spec.name, 1, code=1))
            assert stage.actor.state.phase is phase
            await asyncio.sleep(1.0)

    run(story)


def test_an_old_version_that_comes_back_after_a_failed_update_is_a_member_that_runs() -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        runtime = Shared()
        stage = Stage(loop, clock, runtime, ONE)
        await stage.up()
        runtime.fails, runtime.permanent = "one: the swarm went back to the version before", True
        stage.actor.tell(d.WantRestart(clock.now(), "asked"))
        await asyncio.sleep(1.0)
        assert runtime.released == ["one"]
        assert runtime.stopped == []
        assert stage.actor.state.phase is Phase.FAILED
        stage.actor.appeared(None, "old")
        assert stage.actor.state.phase is Phase.STARTING
        stage.prove()
        assert stage.actor.state.phase is Phase.RUNNING

    run(story)


def test_behind_a_fence_a_runtime_shares_and_replaces_as_it_does_without_and_only_while_we_lead() -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        del loop, clock
        runtime, plain = Shared(), StepRuntime("theirs")
        fenced = FencedRuntime(runtime, Held(holds=True))
        assert isinstance(fenced, Sharing)
        assert isinstance(fenced, Replacing)
        assert [fenced.supervises(spec) for spec in (ONE, TWO)] == ["theirs", "ours"]
        assert FencedRuntime(plain, Held(holds=True)).supervises(TWO) == "theirs"
        await fenced.release(ONE)
        await FencedRuntime(plain, Held(holds=True)).release(ONE)
        assert (runtime.released, runtime.stopped, plain.stopped) == (["one"], [], [ONE.stop_grace])
        with pytest.raises(RuntimeFailed, match="another watchdog leads this fleet"):
            await FencedRuntime(runtime, Held(holds=False)).release(ONE)
        assert runtime.released == ["one"]

    run(story)
