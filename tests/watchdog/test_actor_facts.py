"""What an actor tells of its member, when it starts and stops what, and what it does when its time is over."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.fact import MemberChanged, MemberExited, MemberStarted, Troubled
from mcpwatch.model.incarnation import Exited, Incarnation
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.restart import Backoff, RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.watchdog import decide as d
from tests.watchdog.stage import SPEC, Stage, staged
from tests.watchdog.step_runtime import ReplacingRuntime


def test_every_change_is_a_fact_with_its_weight_its_reason_and_its_date() -> None:
    async def play(stage: Stage) -> None:
        await asyncio.sleep(5.0)
        await stage.up()
        actor, start = stage.actor, stage.clock.wall() - 6.0
        assert (actor.since, actor.changed_at, actor.verdict_since) == (start + 6.0, 6.0, start + 6.0)
        await asyncio.sleep(1.0)
        actor.tell(d.Judged(stage.clock.now(), "it hangs", 1, Verdict.UNHEALTHY))
        assert (actor.since, actor.changed_at, actor.verdict_since) == (start + 6.0, 6.0, start + 7.0)
        assert actor.reason == "it hangs"
        actor.tell(d.Judged(stage.clock.now(), "it hangs still", 1, Verdict.UNHEALTHY))
        actor.tell(d.Judged(stage.clock.now(), "", 1, Verdict.DEGRADED))
        assert actor.reason == "it hangs", "what has no reason keeps the last"
        told = [(fact.level, fact.generation, fact.text) for fact in stage.facts if isinstance(fact, MemberChanged)]
        assert told == [
            ("info", 1, "time: want down -> up (wanted)"),
            ("info", 1, "time: phase stopped -> starting (wanted)"),
            ("info", 1, "time: phase starting -> running (ok)"),
            ("info", 1, "time: verdict unknown -> healthy (ok)"),
            ("warning", 1, "time: verdict healthy -> unhealthy (it hangs)"),
            ("info", 1, "time: verdict unhealthy -> degraded"),
        ]
        assert stage.heard == [Phase.STARTING, *[Phase.RUNNING] * 3], "the same again is no change"

    staged(play)


def test_a_crash_loop_pauses_is_parked_and_tried_once_more_and_says_so() -> None:
    policy = RestartPolicy(intensity=2, retry=100.0, backoff=Backoff(first=5.0, jitter=0.0))

    async def play(stage: Stage) -> None:
        await stage.up()
        for generation in (1, 2, 3):
            stage.actor.exited(Exited("time", generation, code=1))
            await asyncio.sleep(6.0)
        assert stage.actor.state.phase is Phase.FAILED
        await asyncio.sleep(100.0)
        told = [(fact.level, fact.new, fact.reason) for fact in stage.facts if isinstance(fact, MemberChanged)]
        assert [one for one in told if one[1] in ("backoff", "failed", "starting")] == [
            ("info", "starting", "wanted"),
            ("info", "starting", "exited with code 1"),
            ("warning", "backoff", "exited with code 1"),
            ("info", "starting", "the pause is over"),
            ("error", "failed", "exited with code 1"),
            ("info", "starting", "one more try"),
        ]
        assert stage.runtime.started == [1, 2, 3, 4]

    staged(play, spec=replace(SPEC, restart=policy))


def test_an_end_for_want_of_memory_is_remembered_until_somebody_starts_it_afresh() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.exited(Exited("time", 1, code=None, signal=9, oom=True), ("last words",))
        (end,) = (fact for fact in stage.facts if isinstance(fact, MemberExited))
        assert (end.level, end.code, end.signal, end.oom, end.tail) == ("warning", None, 9, True, ("last words",))
        await asyncio.sleep(1.0)
        stage.prove()
        assert stage.actor.oom
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        await stage.up()
        assert not stage.actor.oom

    staged(play)


def test_a_stop_that_fails_is_told_and_forced_when_its_time_is_over() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.runtime.stop_fails = "no such engine"
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        (trouble,) = (fact for fact in stage.facts if isinstance(fact, Troubled))
        assert (trouble.level, trouble.text, trouble.subject, trouble.member) == ("error", "no such engine", "stop time", "time")
        assert stage.actor.state.phase is Phase.STOPPING
        stage.runtime.stop_fails = ""
        await asyncio.sleep(15.0)
        assert (stage.actor.state.phase, stage.actor.incarnation) == (Phase.STOPPED, None)
        assert stage.actor.reason == "an operator asked"
        troubles = [(fact.subject, fact.cleared) for fact in stage.facts if isinstance(fact, Troubled)]
        assert troubles == [("stop time", False), ("stop time", True)], "a trouble that is over is told to be"

    staged(play)


def test_a_stop_that_takes_longer_than_its_time_is_not_done_twice() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.runtime.stop_takes = 20.0
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(50.0)
        assert (stage.actor.state.phase, stage.runtime.stopped) == (Phase.STOPPED, [10.0])

    staged(play)


def test_a_member_can_be_killed_beside_a_stop_that_is_under_way() -> None:
    async def play(stage: Stage) -> None:
        await stage.actor.force()
        assert stage.runtime.stopped == [0.0]

    staged(play, spec=replace(SPEC, name="time"))


def test_a_runtime_that_replaces_is_not_asked_to_stop_first_unless_nothing_follows_or_somebody_is_in_a_hurry() -> None:
    async def play(stage: Stage) -> None:
        runtime = stage.runtime
        assert isinstance(runtime, ReplacingRuntime)
        await stage.up()
        stage.actor.tell(d.WantRestart(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert (runtime.released, runtime.stopped, runtime.started) == (["time"], [], [1, 2])
        stage.actor.hurried = True
        stage.actor.tell(d.WantRestart(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert (runtime.released, runtime.stopped) == (["time"], [0.0])
        stage.actor.hurried = False
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert (runtime.released, runtime.stopped) == (["time"], [0.0, 10.0])

    staged(play, runtime=ReplacingRuntime())


@pytest.mark.parametrize(
    ("pid", "container", "words"),
    [(100, None, "pid 101"), (0, "0123456789abcdef", "container 0123456789ab"), (0, None, "watched")],
)
def test_a_start_is_told_with_where_it_lives(pid: int, container: str | None, words: str) -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.pid, stage.runtime.container = pid, container
        stage.actor.paused = True
        await stage.up()
        (fact,) = (one for one in stage.facts if isinstance(one, MemberStarted))
        assert fact.text == f"time: started, generation 1, {words}"
        assert (fact.generation, fact.pid, fact.container, fact.adopted) == (1, pid + 1 if pid else None, container, False)
        assert (stage.actor.adopted, stage.actor.started_at) == (False, 0.0), "its age counts from now, whatever its carrier says"
        assert not stage.actor.paused

    staged(play)


def test_what_was_found_alive_is_never_younger_than_now() -> None:
    async def play(stage: Stage) -> None:
        await asyncio.sleep(10.0)
        stage.actor.adopt(Incarnation("time", 2, "f1", 77, started_at=WallTime(stage.clock.wall() + 40.0)))
        assert stage.actor.started_at == 10.0
        assert [fact.adopted for fact in stage.facts if isinstance(fact, MemberStarted)] == [True]
        stage.prove()
        stage.actor.tell(d.WantRestart(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert not stage.actor.adopted, "the next one is our own"

    staged(play)


def test_a_start_that_is_not_wanted_any_more_is_not_begun() -> None:
    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert (stage.runtime.started, stage.actor.state.phase) == ([], Phase.STOPPED)

    staged(play)


def test_a_start_that_died_before_it_was_done_is_not_taken_for_the_next_one() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.start_takes = 5.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        stage.actor.exited(Exited("time", 1, code=1))
        assert stage.actor.state.generation == 2
        await asyncio.sleep(5.0)
        assert stage.began == []
        await asyncio.sleep(5.0)
        assert stage.began == [2]

    staged(play)


def test_a_port_that_is_free_again_is_forgotten() -> None:
    held = ["pid 7 (nginx)", ""]

    async def holder(spec: MemberSpec) -> str:
        del spec
        return held.pop(0)

    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        assert (stage.actor.port_holder, stage.runtime.started) == ("", [2])

    staged(play, spec=replace(SPEC, runtime="process"), port_holder=holder)


def test_whose_carrier_is_elsewhere_its_port_is_not_looked_at() -> None:
    async def holder(spec: MemberSpec) -> str:
        raise AssertionError(spec.name)

    async def play(stage: Stage) -> None:
        await stage.up()
        assert stage.actor.state.phase is Phase.RUNNING

    staged(play, port_holder=holder)


def test_when_it_is_closed_no_deadline_matters_any_more() -> None:
    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        stage.actor.close()
        await asyncio.sleep(100.0)
        assert stage.actor.state.phase is Phase.STARTING

    staged(play)


def test_whether_time_went_by_unwatched_is_asked_before_a_deadline_is_held_against_a_start() -> None:
    asleep: list[Stage] = []

    def notice() -> None:
        for stage in asleep:
            stage.actor.tell(d.Unwatched(stage.clock.now(), "nobody watched"))
        asleep.clear()

    async def play(stage: Stage) -> None:
        asleep.append(stage)
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(119.0)
        assert stage.runtime.stopped == []
        await asyncio.sleep(2.0)
        assert stage.runtime.stopped == [10.0]

    staged(play, notice=notice)


def test_of_a_new_member_nothing_is_known_and_its_first_start_was_not_planned() -> None:
    async def play(stage: Stage) -> None:
        actor = stage.actor
        assert (actor.paused, actor.oom, actor.adopted, actor.planned) == (False, False, False, False)
        actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        assert (actor.state.phase, actor.planned) == (Phase.STARTING, False)
        actor.exited(Exited("time", 1, code=1))
        assert stage.ends()[0][1] is False

    staged(play)


def test_what_is_told_while_something_is_told_comes_after_it() -> None:
    async def play(stage: Stage) -> None:
        def down() -> None:
            stage.on_fact = lambda: None
            stage.actor.tell(d.WantDown(stage.clock.now(), "no, not now"))

        stage.on_fact = down
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        told = [(fact.new, fact.reason) for fact in stage.facts if isinstance(fact, MemberChanged)]
        assert told == [("up", "wanted"), ("starting", "wanted"), ("down", "no, not now"), ("stopping", "no, not now")]

    staged(play)


def test_a_member_that_runs_wakes_nobody() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        naps = stage.loop.naps
        await asyncio.sleep(1000.0)
        assert stage.loop.naps == naps + 1

    staged(play)


def test_a_short_pause_is_no_longer_than_it_should_be() -> None:
    policy = RestartPolicy(backoff=Backoff(first=0.25, jitter=0.0))

    async def play(stage: Stage) -> None:
        await asyncio.sleep(100.0)
        await stage.up()
        stage.actor.exited(Exited("time", 1, code=1))
        await asyncio.sleep(1.0)
        stage.prove()
        stage.actor.exited(Exited("time", 2, code=1))
        assert stage.actor.state.phase is Phase.BACKOFF
        await asyncio.sleep(0.26)
        assert stage.actor.state.phase is Phase.STARTING

    staged(play, spec=replace(SPEC, restart=policy))
