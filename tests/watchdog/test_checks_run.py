"""How checks run: one at a time, judged only against what they saw, looked at again soon while undecided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Canary, Outcome, ProbeResult, Symptom, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.history import CheckHistory, CheckKey
from mcpwatch.watchdog.probing import Aim, ProbeListener, Probing, ScheduledCheck
from mcpwatch.watchdog.senses import Context, Senses
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.test_probing import as_it_is
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
    noticed: int = 0
    busy: int = 0
    busiest: int = 0
    proving: bool = True
    apart: bool = False
    aim: Aim | None = field(default_factory=lambda: Aim(Target("http://h/time/sse"), CHECK, 1))
    loop: asyncio.AbstractEventLoop | None = None

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        del check, target, vantage
        assert self.loop is not None
        self.asked.append(self.loop.time())
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(1.0)
        self.busy -= 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def forget(self, target: Target) -> None:
        self.forgotten.append(target.url)

    async def close(self) -> None:
        return

    def tried(self, scheduled: ScheduledCheck) -> None:
        del scheduled
        self.tries += 1

    def aim_of(self, scheduled: ScheduledCheck) -> Aim | None:
        """The aim; the route of what is seen from both vantages has an address of its own."""
        if self.aim is None or scheduled.key.vantage == "direct" or not self.apart:
            return self.aim
        return replace(self.aim, target=Target("http://proxy/time/sse"))

    def notice(self) -> None:
        self.noticed += 1

    def hear(self, scheduled: ScheduledCheck, before: CheckHistory, after: CheckHistory) -> None:
        del scheduled, before
        self.judged.append(after.verdict)


def staged(play: Callable[[Desk, Probing], Awaitable[None]], *answers: ProbeResult) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        desk, tasks = Desk(list(answers) or [GOOD], loop=loop), set[asyncio.Task[Any]]()

        def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.add(loop.create_task(work, name=name))

        listener = ProbeListener(
            aim=desk.aim_of,
            proving=lambda _member, _generation: desk.proving,
            on_try=desk.tried,
            excuse=as_it_is,
            refine=lambda _scheduled, result, _generation: result,
            on_result=desk.hear,
            notice=desk.notice,
        )
        probing = Probing(desk, Context(clock, desk.facts.append, spawn, Senses(schedule=VirtualSchedule)), listener)
        probing.watch([DIRECT, ROUTE])
        await play(desk, probing)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end for end in ends if isinstance(end, Exception)] == []

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
        desk.apart = True
        await probing.run(DIRECT)
        await probing.run(ROUTE)
        probing.renew("time", 2)
        assert {probing.history(one).verdict for one in (DIRECT, ROUTE)} == {Verdict.UNKNOWN}
        assert {probing.history(one).generation for one in (DIRECT, ROUTE)} == {2}
        assert desk.forgotten == ["http://h/time/sse"], "the route is the proxy's, which is the same"
        probing.watch([ROUTE])
        probing.renew("time", 3)
        assert desk.forgotten[1:] == ["http://proxy/time/sse"], "what is hosted is seen nowhere else"

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


def test_every_result_is_told_with_what_it_was_seen_from_and_only_trouble_is_worth_a_line() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        desk.aim = Aim(Target("http://h/time/sse"), CHECK, 3, 7)
        for scheduled in (ROUTE, DIRECT, DIRECT, DIRECT):
            await probing.run(scheduled)
        told = [fact for fact in desk.facts if isinstance(fact, ProbeFinished)]
        assert [(fact.level, fact.vantage, fact.route, fact.lag) for fact in told] == [
            ("debug", "route", "time", 0.0),
            ("info", "direct", "", 0.0),
            ("debug", "direct", "", 0.0),
            ("info", "direct", "", 0.0),
        ]
        assert told[0].text == "time: mcp route success in 1500 ms"
        assert {(fact.member, fact.check, fact.generation) for fact in told} == {("time", "mcp", 3)}
        assert desk.noticed == 3, "whether somebody watched is asked for what is no success only"
        seen = probing.history(ROUTE)
        assert (seen.began_at, seen.at, seen.generation, seen.proxy_generation, seen.deep) == (0.0, 1.0, 3, 7, False)

    slow = ProbeResult(Outcome.DEGRADED, Symptom.SLOW)
    staged(play, replace(GOOD, seconds=1.5), slow, ProbeResult(Outcome.UNKNOWN), BAD)


def test_a_check_calls_a_tool_when_it_has_a_canary_or_was_told_to() -> None:
    for check, deep in ((CHECK, False), (replace(CHECK, safe_call=True), True), (replace(CHECK, canary=Canary("a")), True)):
        aim = Aim(Target("http://h/sse"), check, 1)
        assert aim.deep is deep
        assert aim.same(Aim(aim.target, check, 1, proxy_generation=0, resumes=0))


def test_no_more_than_sixty_four_probes_are_under_way_and_all_get_their_turn() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        many = [ScheduledCheck(CheckKey(f"m{n}", "mcp", "direct"), CHECK, f"m{n}") for n in range(70)]
        probing.watch(many)
        found = await asyncio.gather(*(probing.run(one) for one in many))
        assert (desk.busiest, found.count(GOOD)) == (64, 70)

    staged(play)


def test_a_check_that_cannot_be_run_now_is_not_asked() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        desk.aim = None
        assert await probing.run(DIRECT) is None
        assert desk.asked == []
        assert not probing.running(DIRECT)

    staged(play)


def test_a_failure_seen_with_somebody_watching_from_its_beginning_is_one() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await asyncio.sleep(5.0)
        probing.gap(Instant(5.0))
        found = await probing.run(DIRECT)
        assert found is not None
        assert found.outcome is Outcome.FAILURE

    staged(play, BAD)


def test_a_check_on_its_schedule_is_run_with_its_lag_and_no_more_once_it_is_dropped() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        probing.schedule.start()
        await asyncio.sleep(100.0)
        asked = len(desk.asked)
        assert asked in (6, 7, 8), "two checks, every thirty seconds"
        probing.watch([])
        await asyncio.sleep(100.0)
        assert len(desk.asked) == asked
        probing.watch([DIRECT])
        await asyncio.sleep(100.0)
        assert len(desk.asked) > asked

    staged(play)


def test_the_same_check_is_not_scheduled_anew_and_a_changed_one_keeps_its_history() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        del desk
        await probing.run(DIRECT)
        put: list[str] = []
        probing.schedule.put = lambda name, job, **_: put.append(name)  # type: ignore[method-assign,misc]
        probing.watch([replace(DIRECT, check=replace(CHECK, interval=5.0)), ROUTE])
        assert put == ["direct:time:mcp"]
        assert probing.history(DIRECT).verdict is Verdict.HEALTHY

    staged(play)


@pytest.mark.parametrize(("check", "asked"), [(CHECK, 3), (replace(CHECK, interval=None, cron="0 3 * * *"), 1)])
def test_a_check_that_runs_by_the_clock_is_not_confirmed_in_between(check: CheckSpec, asked: int) -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        scheduled = replace(DIRECT, check=check)
        probing.watch([scheduled])
        await probing.run(scheduled)
        await asyncio.sleep(60.0)
        assert len(desk.asked) == asked

    staged(play, BAD)


def test_a_second_failure_meanwhile_asks_for_no_second_confirmation() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.run(DIRECT)
        await asyncio.sleep(1.0)
        await probing.run(DIRECT)
        await asyncio.sleep(60.0)
        assert desk.asked == [0.0, 2.0, 4.0]

    staged(play, BAD)


def test_the_pauses_between_looks_at_a_start_grow_to_a_second() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.ready(DIRECT, 1)
        pauses = [after - before - 1.0 for before, after in pairwise(desk.asked)]
        assert pauses[:3] == pytest.approx([0.02, 0.032, 0.0512])
        assert pauses[-1] == pytest.approx(1.0)
        assert desk.judged == [Verdict.DEGRADED], "one that answers badly has started too"
        assert desk.facts[0].lag == 0.0  # type: ignore[attr-defined]

    staged(play, *[BAD] * 12, ProbeResult(Outcome.DEGRADED, Symptom.SLOW))


def test_a_start_is_not_proved_by_what_answered_for_another_incarnation() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        ready = asyncio.get_running_loop().create_task(probing.ready(DIRECT, 1))
        await asyncio.sleep(0.5)
        first, desk.aim = desk.aim, None
        await asyncio.sleep(5.0)
        assert (desk.judged, len(desk.asked)) == ([], 1), "there is nothing to ask now"
        desk.aim = first
        await ready
        assert desk.judged == [Verdict.HEALTHY]

    staged(play)


def test_what_one_check_saw_can_be_forgotten_alone() -> None:
    async def play(desk: Desk, probing: Probing) -> None:
        await probing.run(DIRECT)
        await probing.run(ROUTE)
        probing.renew_check(DIRECT)
        assert (probing.history(DIRECT).verdict, probing.history(DIRECT).generation) == (Verdict.UNKNOWN, 1)
        assert probing.history(ROUTE).verdict is Verdict.HEALTHY
        assert desk.forgotten == []

    staged(play)
