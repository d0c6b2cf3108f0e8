"""How checks run: one at a time, judged only against what they saw, looked at again soon while undecided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.watchdog.history import CheckHistory, CheckKey
from mcpwatch.watchdog.probing import Aim, Listener, Probing, ScheduledCheck
from mcpwatch.watchdog.senses import Context, Senses
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.world_prober import VirtualSchedule

GOOD = ProbeResult(Outcome.SUCCESS)
BAD = ProbeResult(Outcome.FAILURE, Symptom.REFUSED, message="refused")
CHECK = CheckSpec("mcp", "mcp", interval=30.0, failure_threshold=3)
DIRECT = ScheduledCheck(CheckKey("time", "mcp", "direct"), CHECK, "time")
ROUTE = ScheduledCheck(CheckKey("time", "mcp", "route"), CHECK, "time")
OTHER = ScheduledCheck(CheckKey("git", "mcp", "direct"), CHECK, "git")


@dataclass
class Desk:
    """A prober that answers as told, after a second, and what the probing told."""

    answers: list[ProbeResult] = field(default_factory=list[ProbeResult])
    asked: list[float] = field(default_factory=list[float])
    forgotten: list[str] = field(default_factory=list[str])
    facts: list[Fact] = field(default_factory=list[Fact])
    judged: list[Verdict] = field(default_factory=list[Verdict])
    tries: int = 0
    proving: bool = True
    aim: Aim | None = field(default_factory=lambda: Aim(Target("http://h/time/sse"), CHECK, 1))
    loop: asyncio.AbstractEventLoop | None = None

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        del check, target, vantage
        assert self.loop is not None
        self.asked.append(self.loop.time())
        await asyncio.sleep(1.0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def forget(self, target: Target) -> None:
        self.forgotten.append(target.url)

    async def close(self) -> None:
        return

    def tried(self, scheduled: ScheduledCheck) -> None:
        del scheduled
        self.tries += 1

    def hear(self, scheduled: ScheduledCheck, before: CheckHistory, after: CheckHistory) -> None:
        del scheduled, before
        self.judged.append(after.verdict)


def staged(play: Callable[[Desk, Probing], Awaitable[None]], *answers: ProbeResult) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        desk, tasks = Desk(list(answers) or [GOOD], loop=loop), set[asyncio.Task[Any]]()

        def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.add(loop.create_task(work, name=name))

        listener = Listener(
            aim=lambda _: desk.aim,
            proving=lambda _member, _generation: desk.proving,
            on_try=desk.tried,
            refine=lambda _scheduled, result, _generation: result,
            on_result=desk.hear,
            notice=lambda: None,
        )
        probing = Probing(desk, Context(clock, desk.facts.append, spawn, Senses(schedule=VirtualSchedule)), listener)
        probing.watch([DIRECT, ROUTE])
        await play(desk, probing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(story)


def test_a_check_that_is_no_longer_wanted_is_forgotten_with_its_history_and_the_others_stay() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.run(DIRECT)
        await probing.run(ROUTE)
        probing.watch([ROUTE, OTHER])
        assert DIRECT.key not in probing.histories
        assert probing.history(ROUTE).verdict is Verdict.HEALTHY
        assert probing.history(OTHER).verdict is Verdict.UNKNOWN
        assert probing.of("time") == (ROUTE,)
        assert probing.of("time", "direct") == ()
        assert probing.of_member("git") == (OTHER,)
        assert probing.verdicts("time", "route") == (Verdict.HEALTHY,)
        assert desk.judged == [Verdict.HEALTHY] * 2

    staged(play)


@pytest.mark.parametrize("change", ["generation", "proxy_generation", "resumes", "gone", "replaced"])
def test_what_was_seen_of_another_incarnation_or_by_another_check_is_void(change: str) -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        probe = asyncio.get_running_loop().create_task(probing.run(DIRECT))
        await asyncio.sleep(0.5)
        assert probing.running(DIRECT)
        assert not probing.running(ROUTE)
        assert desk.aim is not None
        if change == "replaced":
            probing.watch([ScheduledCheck(DIRECT.key, replace(CHECK, timeout=3.0), "time"), ROUTE])
        else:
            desk.aim = None if change == "gone" else replace(desk.aim, **{change: 5})
        assert await probe is None
        assert desk.judged == []
        assert not probing.running(DIRECT)

    staged(play, BAD)


def test_a_check_runs_once_at_a_time_and_a_look_waits_for_it_and_looks_again() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        first = asyncio.get_running_loop().create_task(probing.run(DIRECT))
        await asyncio.sleep(0.5)
        assert await probing.run(DIRECT) is None
        await probing.look([DIRECT])
        assert (await first, desk.asked) == (GOOD, [0.0, 1.0])

    staged(play)


def test_a_failure_that_is_no_verdict_yet_is_confirmed_soon_and_each_pause_is_waited_for() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.run(DIRECT)
        await asyncio.sleep(60.0)
        assert desk.asked == [0.0, 4.0, 8.0]
        assert desk.judged == [Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.UNHEALTHY]
        told = [fact for fact in desk.facts if isinstance(fact, ProbeFinished)]
        assert [(fact.level, fact.route, fact.member) for fact in told] == [("info", "", "time")] * 3
        assert told[0].text == "time: mcp direct failure in 0 ms: refused: refused"

    staged(play, BAD)


def test_a_failure_of_a_probe_that_began_before_a_gap_says_nothing() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        probe = asyncio.get_running_loop().create_task(probing.run(DIRECT))
        await asyncio.sleep(0.5)
        assert desk.aim is not None
        probing.gap(VirtualClock(asyncio.get_running_loop()).now())  # type: ignore[arg-type]
        found = await probe
        assert found is not None
        assert found.outcome is Outcome.UNKNOWN
        assert not probing.history(DIRECT).failing

    staged(play, BAD)


def test_a_new_generation_begins_its_histories_again_and_what_was_learned_of_it_direct_is_forgotten() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.run(DIRECT)
        await probing.run(ROUTE)
        probing.renew("time", 2)
        assert {probing.history(one).verdict for one in (DIRECT, ROUTE)} == {Verdict.UNKNOWN}
        assert {probing.history(one).generation for one in (DIRECT, ROUTE)} == {2}
        assert desk.forgotten == ["http://h/time/sse"], "the route is the proxy's, which is the same"
        probing.watch([ROUTE])
        probing.renew("time", 3)
        assert len(desk.forgotten) == 2, "what is hosted is seen nowhere else"

    staged(play)


def test_a_start_is_looked_at_quickly_then_slower_until_it_is_proved_and_its_failures_are_no_strikes() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.ready(DIRECT, 1)
        assert desk.tries == 3
        assert desk.judged == [Verdict.HEALTHY]
        pauses = [after - before - 1.0 for before, after in zip(desk.asked, desk.asked[1:], strict=False)]
        assert pauses == sorted(pauses)
        assert pauses[0] > 0.0
        assert pauses[0] < pauses[-1]

    staged(play, BAD, BAD, BAD, GOOD)


def test_a_start_that_is_over_or_is_another_generations_is_not_judged() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        ready = asyncio.get_running_loop().create_task(probing.ready(DIRECT, 1))
        await asyncio.sleep(0.5)
        desk.proving = False
        await ready
        assert (desk.judged, desk.tries) == ([], 0)
        desk.proving = True
        other = asyncio.get_running_loop().create_task(probing.ready(DIRECT, 7))
        await asyncio.sleep(5.0)
        assert len(desk.asked) == 1, "the one that runs now is not the one to be proved"
        desk.proving = False
        await other

    staged(play)
