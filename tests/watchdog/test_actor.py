"""One member's actor over a runtime that does as it is told: what is planned, what is told of an end, what a late start finds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mcpwatch.model.fact import MemberStarted
from mcpwatch.model.incarnation import Exited, Incarnation
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import describe_exit
from tests.watchdog.stage import Stage, staged


@pytest.mark.parametrize(
    ("end", "tail", "words"),
    [
        (Exited("m", 1, signal=9), (), "killed by SIGKILL"),
        (Exited("m", 1, signal=9, oom=True), (), "killed by SIGKILL (out of memory)"),
        (Exited("m", 1, signal=200), (), "killed by signal 200"),
        (Exited("m", 1, code=0), ("bye",), "exited with code 0"),
        (Exited("m", 1, code=3), ("first", " boom "), "exited with code 3: boom"),
        (Exited("m", 1, code=3, detail="its own words"), ("boom",), "exited with code 3: its own words"),
        (Exited("m", 1, code=3, detail="exited with code 3"), ("boom",), "exited with code 3: boom"),
        (Exited("m", 1, signal=9, detail="killed by signal 9"), (), "killed by SIGKILL"),
        (Exited("m", 1), (), "ended, how cannot be known"),
        (Exited("m", 1, detail="somebody removed it"), (), "ended: somebody removed it"),
    ],
)
def test_an_end_is_told_in_words_with_its_reason_once(end: Exited, tail: tuple[str, ...], words: str) -> None:
    assert describe_exit(end, tail) == words


def test_an_end_by_itself_is_a_failure_and_one_that_was_asked_for_is_not_however_late_it_is_told() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.exited(Exited("time", 1, code=1), ("boom",))
        assert stage.actor.last_exit == "exited with code 1: boom"
        await asyncio.sleep(1.0)
        stage.prove()
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert stage.actor.state.phase is Phase.STOPPED
        stage.actor.exited(Exited("time", 2, code=143))
        assert stage.ends() == [(1, False, "time: exited with code 1: boom"), (2, True, "time: stopped as asked")]
        assert stage.actor.last_exit == ""

    staged(play)


def test_a_restart_that_was_asked_for_is_planned_until_it_is_proved_and_one_after_a_crash_is_not() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.stop_takes = stage.runtime.start_takes = 2.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(3.0)
        stage.prove()
        assert not stage.actor.planned
        stage.actor.tell(d.WantRestart(stage.clock.now(), "an operator asked"))
        assert (stage.actor.state.phase, stage.actor.planned) == (Phase.STOPPING, True)
        await asyncio.sleep(2.5)
        assert (stage.actor.state.phase, stage.actor.planned) == (Phase.STARTING, True)
        await asyncio.sleep(2.0)
        stage.prove()
        assert not stage.actor.planned
        stage.actor.exited(Exited("time", 2, code=1))
        assert (stage.actor.state.phase, stage.actor.planned) == (Phase.STARTING, False)
        await asyncio.sleep(3.0)
        stage.prove()
        stage.actor.tell(d.WantRestart(stage.clock.now(), "a repair", counts=True))
        assert (stage.actor.state.phase, stage.actor.planned) == (Phase.STOPPING, False)
        await asyncio.sleep(3.0)
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        assert not stage.actor.planned

    staged(play)


def test_a_start_that_fails_is_told_as_the_last_exit_and_a_permanent_one_is_parked_at_once() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.fails, stage.runtime.permanent = "no such image", True
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        assert (stage.actor.state.phase, stage.actor.last_exit) == (Phase.FAILED, "no such image")
        assert stage.runtime.started == []

    staged(play)


def test_why_a_start_failed_is_no_reason_any_more_once_one_succeeded() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.fails = "the engine refused: no image was named"
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(0.5)
        assert stage.actor.last_exit == "the engine refused: no image was named"
        stage.runtime.fails = ""
        await asyncio.sleep(60.0)
        assert (stage.actor.lives, stage.actor.last_exit) == (True, "")

    staged(play)


@pytest.mark.parametrize("counts", [False, True], ids=["asked for", "a repair"])
def test_how_an_earlier_life_ended_is_no_reason_of_a_stop_that_was_decided(counts: bool) -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.exited(Exited("time", 1, code=7, detail="no key"))
        await asyncio.sleep(1.0)
        stage.prove()
        assert stage.actor.last_exit == "exited with code 7: no key"
        stage.actor.tell(d.WantRestart(stage.clock.now(), "it hangs", counts=counts))
        await asyncio.sleep(1.0)
        assert (stage.actor.state.generation, stage.actor.last_exit) == (3, "")

    staged(play)


def test_a_port_that_another_server_holds_is_told_and_the_member_is_not_started() -> None:
    async def held(spec: MemberSpec) -> str:
        del spec
        return "pid 7 (nginx)"

    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(0.01)
        assert stage.actor.port_holder == "pid 7 (nginx)"
        assert stage.actor.last_exit == "its port is held by pid 7 (nginx)"
        assert stage.runtime.started == []

    staged(play, spec=MemberSpec("time", "server", "process", object(), fingerprint="f1"), port_holder=held)


def test_a_member_that_was_found_alive_is_adopted_with_its_age_and_one_without_a_number_gets_the_next() -> None:
    async def play(stage: Stage) -> None:
        await asyncio.sleep(100.0)
        stage.actor.adopt(Incarnation("time", 9, "f1", 77, started_at=WallTime(stage.clock.wall() - 40.0)))
        assert (stage.actor.state.generation, stage.actor.adopted, stage.actor.started_at) == (9, True, 60.0)
        assert stage.runtime.numbered == []
        assert [fact.text for fact in stage.facts if isinstance(fact, MemberStarted)] == ["time: adopted, generation 9, pid 77"]
        assert stage.actor.state.phase is Phase.STARTING
        stage.prove()
        assert stage.actor.state.phase is Phase.RUNNING

    async def unnumbered(stage: Stage) -> None:
        stage.actor.adopt(Incarnation("time", None, "f1", 78))
        assert stage.actor.state.generation == 1
        assert stage.runtime.numbered == [Incarnation("time", 1, "f1", 78)]

    staged(play)
    staged(unnumbered, "theirs")


def test_what_its_carrier_brings_back_is_a_generation_of_its_own_with_a_number() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.exited(Exited("time", 1, code=1))
        assert stage.actor.state.phase is Phase.BACKOFF
        stage.actor.appeared(55, None)
        assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.STARTING, 2)
        assert stage.runtime.numbered == [Incarnation("time", 2, "f1", 55)]
        assert stage.actor.incarnation == Incarnation("time", 2, "f1", 55)
        assert stage.began == [1, 2]
        assert not stage.actor.planned
        assert [fact.adopted for fact in stage.facts if isinstance(fact, MemberStarted)] == [False, False]

    staged(play, "theirs")


def test_a_carrier_need_not_tell_the_end_of_what_it_replaces_for_a_changed_configuration() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.replacing = True
        stage.actor.appeared(55, None)
        assert (stage.actor.state.generation, stage.actor.planned, stage.actor.replacing) == (2, True, False)

    async def starting(stage: Stage) -> None:
        stage.runtime.start_takes = 5.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        stage.actor.replacing = True
        stage.actor.appeared(55, None)
        assert (stage.actor.state.generation, stage.actor.planned, stage.began) == (1, False, []), "that is the start itself"
        assert stage.runtime.numbered == [Incarnation("time", 1, "f1", 55)]

    staged(play, "theirs")
    staged(starting, "theirs")


def test_what_its_carrier_replaced_for_a_changed_configuration_is_planned_and_no_failure() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.replacing = True
        stage.actor.exited(Exited("time", 1, code=0))
        assert stage.ends() == [(1, True, "time: stopped as asked")]
        assert (stage.actor.state.phase, stage.actor.state.failures, stage.actor.planned) == (Phase.BACKOFF, 0, True)
        stage.actor.appeared(55, None)
        assert stage.actor.planned
        stage.prove()
        stage.actor.exited(Exited("time", 2, code=1))
        assert stage.ends()[1][1] is False

    staged(play, "theirs")


def test_a_start_that_its_carrier_lost_meanwhile_ends_in_a_generation_of_its_own() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.start_takes = 5.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        stage.actor.tell(d.Lost(stage.clock.now(), "its carrier is away", generation=1))
        assert stage.actor.state.phase is Phase.BACKOFF
        await asyncio.sleep(5.0)
        assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.STARTING, 2)
        assert stage.actor.incarnation == Incarnation("time", 2, "f1", 101)

    staged(play, "theirs")


@pytest.mark.parametrize("newer", [True, False])
def test_a_pending_start_is_abandoned_when_its_carrier_starts_a_newer_one_or_a_stop_is_asked(newer: bool) -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.start_takes = 50.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        if newer:
            stage.actor.exited(Exited("time", 1, code=1))
            stage.actor.appeared(55, None)
            await asyncio.sleep(50.0)
        else:
            stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
            await asyncio.sleep(1.0)
        assert (stage.actor.state.phase, stage.runtime.started) == (Phase.STARTING if newer else Phase.STOPPED, [])

    staged(play, "theirs")


def test_a_start_of_our_own_is_never_abandoned_and_what_came_of_it_is_ended() -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.start_takes = 5.0
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(6.0)
        assert (stage.actor.state.phase, stage.runtime.started, stage.runtime.stopped) == (Phase.STOPPED, [1], [10.0])

    staged(play)


def test_a_stop_has_its_grace_and_none_when_somebody_is_in_a_hurry() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.hurried = True
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        assert stage.runtime.stopped == [0.0]

    staged(play)


def test_a_start_that_is_over_its_grace_is_ended_unless_it_runs_and_says_itself_what_is_wrong() -> None:
    async def play(stage: Stage) -> None:
        stage.sick = True
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(59.0)
        assert stage.actor.state.phase is Phase.STARTING
        await asyncio.sleep(2.0)
        assert (stage.actor.state.phase, stage.actor.state.verdict) == (Phase.RUNNING, Verdict.UNHEALTHY)
        assert stage.runtime.stopped == []

    async def silent(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(61.0)
        assert stage.runtime.stopped == [10.0]
        assert stage.actor.state.want is Want.UP
        assert any("not ready within 60s of its start; it was still starting" in fact.text for fact in stage.facts)

    async def odd(stage: Stage) -> None:
        stage.said = "session_lost: 404 for a session that it gave"
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(61.0)
        assert any("of its start; it answers, but session_lost: 404 for" in fact.text for fact in stage.facts)
        assert not any("raise start_grace" in fact.text for fact in stage.facts)

    staged(play)
    staged(silent)
    staged(odd)


def test_what_is_resumed_is_changed_so_that_earlier_answers_say_nothing() -> None:
    async def play(stage: Stage) -> None:
        await stage.up()
        stage.actor.paused = True
        await stage.actor.resume()
        assert (stage.actor.paused, stage.actor.resumes, stage.runtime.resumed) == (False, 1, 1)
        assert stage.actor.changed_at == stage.clock.now()

    staged(play)


@pytest.mark.parametrize("found", ["sick", "well", "silent"])
def test_the_end_of_a_start_waits_for_what_the_machine_says_of_it_and_is_none_if_it_went_on_meanwhile(found: str) -> None:
    asked: list[float] = []
    stages: list[Stage] = []

    async def told() -> None:
        """A second later, and the first time only."""
        await asyncio.sleep(1.0)
        if found == "well":
            stages[0].prove()
        stages[0].sick = found == "sick"

    def late() -> Callable[[], Awaitable[None]] | None:
        asked.append(stages[0].clock.now())
        return told if len(asked) == 1 else None

    async def play(stage: Stage) -> None:
        stages.append(stage)
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(60.5)
        assert (asked, stage.actor.state.phase) == ([pytest.approx(60.0)], Phase.STARTING)
        await asyncio.sleep(1.0)
        if found == "silent":
            assert stage.runtime.stopped == [10.0]
        else:
            verdict = Verdict.UNHEALTHY if found == "sick" else Verdict.HEALTHY
            assert (stage.actor.state.phase, stage.actor.state.verdict) == (Phase.RUNNING, verdict)
            assert stage.runtime.stopped == []

    staged(play, open=late)
