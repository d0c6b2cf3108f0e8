"""The repair loop on frozen fleets, in virtual time: what it tells, has done, proves, and when it looks again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from mcpwatch.model.fact import Diagnosed, RepairProved, RepairTried
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.doubt import ENOUGH
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.ladder import Attempt, Step
from mcpwatch.watchdog.proof import Proof, well
from mcpwatch.watchdog.repair import Act
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation
from tests.watchdog.mend_bench import GOOD, HUNG, Bench, failing, staged
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROXY


def test_what_falls_together_is_considered_once_and_at_once() -> None:
    async def play(bench: Bench) -> None:
        for _ in range(5):
            bench.mender.soon()
        await asyncio.sleep(0.04)
        assert bench.settlings == 0
        await asyncio.sleep(0.02)
        assert bench.settlings == 1
        bench.mender.soon()
        await asyncio.sleep(10.0)
        assert bench.settlings == 2

    assert staged(play).facts == []


@pytest.mark.parametrize(("took", "pause"), [(0.0, 0.05), (0.01, 0.05), (0.1, 0.4), (3.0, 2.0)])
def test_the_next_diagnosis_waits_by_what_the_last_one_took_up_to_a_bound(took: float, pause: float) -> None:
    async def play(bench: Bench) -> None:
        bench.looking = took
        for wait in (0.05, pause):
            bench.mender.soon()
            before = bench.settlings
            await asyncio.sleep(0.98 * wait)
            assert bench.settlings == before
            await asyncio.sleep(0.04 * wait)
            assert bench.settlings == before + 1

    staged(play)


def test_a_cause_is_told_when_it_is_new_and_when_it_is_gone_but_not_a_start() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=failing(Symptom.AUTH))
        bench.mender.consider()
        bench.mender.consider()
        bench.change("fetch", direct=GOOD)
        bench.change("time", phase=Phase.STOPPING, planned=True)
        bench.mender.consider()
        bench.change("time", phase=Phase.RUNNING, planned=False, direct=replace(failing(Symptom.NOT_MOUNTED), succeeded=False))
        bench.mender.consider()
        assert [one.cause for one in bench.mender.current] == ["starting"]
        bench.change("time", direct=GOOD)
        bench.mender.consider()
        assert bench.mender.current == ()

    bench = staged(play)
    told = [(one.member, one.cause, one.level, one.cleared) for one in bench.of(Diagnosed)]
    assert told == [
        ("fetch", "auth", "warning", False),
        ("time", "planned_restart", "info", False),
        ("fetch", "auth", "info", True),
        ("time", "planned_restart", "info", True),
    ]
    first = bench.facts[0]
    assert isinstance(first, Diagnosed)
    assert (first.text, first.affects, first.members) == ("fetch: it refuses our token", ("fetch",), ())
    assert "direct: auth (3 in a row): said so" in first.evidence
    assert bench.facts[2].text == "fetch: no longer: it refuses our token"
    assert bench.asked == []


def test_a_repair_is_told_done_and_proved_by_what_was_seen_after_it() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG, route="web")
        bench.carrying = 3.0
        bench.on_carry = lambda one: one.change("fetch", direct=GOOD)
        bench.mender.consider()
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["under_way"]
        await asyncio.sleep(10.0)
        (attempt,) = bench.mender.attempts
        assert (attempt.outcome, attempt.at, attempt.about, attempt.cause) == ("proved", 1.0, "member:fetch", "member_hung")
        assert attempt.ended == pytest.approx(4.01)
        assert bench.mender.current == (), "what a repair ended is considered"

    bench = staged(play)
    (tried,), (proved,) = bench.of(RepairTried), bench.of(RepairProved)
    assert tried.text == "fetch: restart, because the member runs but does not answer (timeout@tools_list)"
    assert (tried.member, tried.rung, tried.cause, tried.level) == ("fetch", "restart", "member_hung", "warning")
    assert bench.asked == [(1.0, "restart fetch for member_hung on web")]
    assert (proved.text, proved.level, proved.outcome) == ("fetch: is well again 3.0s after restart", "info", "proved")
    assert (proved.member, proved.rung, proved.cause, proved.seconds) == ("fetch", "restart", "member_hung", pytest.approx(3.01))


def test_a_repair_that_is_needed_again_is_told_with_how_long_the_last_one_held() -> None:
    async def play(bench: Bench) -> None:
        bench.on_carry = lambda one: one.change("fetch", direct=GOOD)
        for _ in range(2):
            bench.change("fetch", direct=HUNG, route="web")
            bench.mender.consider()
            await asyncio.sleep(60.0)

    first, second = staged(play).of(RepairTried)
    assert "again" not in first.text
    assert "(again: repaired 1× before, and the last held for " in second.text


def test_a_look_from_before_the_repair_proves_nothing() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        bench.change("fetch", direct=replace(GOOD, began_at=Instant(0.9), at=Instant(0.95)))
        bench.stale.add("fetch")
        bench.on_prove = lambda one: one.note("prove")
        await asyncio.sleep(50.0)
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["under_way"]
        assert 90 <= len(bench.done("prove")) <= 100, "twice a second"

    staged(play)


@pytest.mark.sample
@pytest.mark.parametrize(
    ("fault", "changes", "seconds"),
    [
        ({"direct": HUNG}, {}, 120.0),
        ({"direct": HUNG}, {"start_grace": 90.5}, 120.5),
        ({"direct": HUNG}, {"start_grace": 89.5}, 120.0),
        ({"stopped_processes": True}, {"start_grace": 200.0}, 30.0),
        ({"through": failing(Symptom.UPSTREAM_DOWN)}, {"start_grace": 200.0}, 15.0),
        ({"through": failing(Symptom.SESSION_LOST)}, {"start_grace": 200.0, "nudges": False}, 230.0),
    ],
)
def test_a_repair_has_the_time_that_its_rung_and_whom_it_concerns_need_to_be_proved(
    fault: dict[str, object], changes: dict[str, object], seconds: float
) -> None:
    async def play(bench: Bench) -> None:
        nudges = bool(changes.get("nudges", True))
        bench.on_carry = lambda one: one.stale.add("fetch")  # it cannot be looked at again
        bench.traits = {"nudges": nudges, "holds_sessions": not nudges, "reconnects": nudges}
        bench.change("fetch", **fault, start_grace=changes.get("start_grace", 60.0))
        bench.change("time", start_grace=500.0)
        bench.mender.consider()
        await asyncio.sleep(seconds - 1.0)
        assert bench.of(RepairProved) == []
        await asyncio.sleep(1.5)
        (proved,) = bench.of(RepairProved)
        assert (proved.outcome, proved.level, proved.seconds) == ("failed", "error", pytest.approx(seconds))
        assert "is not better" in proved.text
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["useless"]

    staged(play)


@pytest.mark.parametrize("other", ["not_mounted", "session_lost"])
def test_while_a_restart_of_the_proxy_is_being_proved_for_one_route_what_another_needs_since_then_is_done(other: str) -> None:
    async def play(bench: Bench) -> None:
        bench.traits = {"holds_sessions": True, "reconnects": False, "mounts_late": False}
        bench.change("fetch", through=failing(Symptom.NOT_MOUNTED))
        bench.on_carry = lambda one: one.stale.add("fetch")  # nothing new is seen of it: its proof takes all its time
        bench.mender.consider()
        await asyncio.sleep(20.0)
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["under_way"]
        bench.change("time", through=failing(Symptom(other), since=10.0))
        bench.mender.consider()
        await asyncio.sleep(1.0)
        assert len(bench.done("restart_proxy")) == 2
        assert [attempt.about for attempt in bench.mender.attempts] == ["route:fetch", "route:time"]

    staged(play)


def test_a_route_that_a_shared_restart_mended_may_need_the_next_one_while_another_is_still_being_proved() -> None:
    async def play(bench: Bench) -> None:
        bench.traits = {"holds_sessions": True, "reconnects": False, "mounts_late": False}
        for name in ("fetch", "time"):
            bench.change(name, through=failing(Symptom.NOT_MOUNTED))

        def mended(one: Bench) -> None:
            one.stale.add("fetch")
            one.change("time", through=GOOD)

        bench.on_carry = mended
        bench.mender.consider()
        await asyncio.sleep(50.0)
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["under_way", "proved"]
        bench.change("time", through=failing(Symptom.SESSION_LOST, since=50.0))
        bench.mender.consider()
        await asyncio.sleep(1.0)
        assert len(bench.done("restart_proxy")) == 2

    staged(play)


def test_two_useless_repairs_end_with_a_person_who_is_told_where_to_look() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        await asyncio.sleep(500.0)
        assert len(bench.done("restart fetch")) == 2
        last = bench.mender.attempts[-1]
        assert (last.step.rung, last.outcome, last.ended) == ("quarantine", "useless", last.at)
        assert bench.mender.current[0].next.startswith("left to a person")
        await asyncio.sleep(900.0)
        assert len(bench.done("restart fetch")) > 2, "a quarter of an hour later it is tried again"
        await asyncio.sleep(400.0)
        assert len(bench.done("restart fetch")) == 4
        assert [one.step.rung for one in bench.mender.attempts] == ["restart", "restart", "quarantine"], "the first are forgotten"

    tried = staged(play).of(RepairTried)
    assert [one.level for one in tried[:3]] == ["warning", "warning", "error"]
    assert "; look at the log of 'fetch'" in tried[2].text
    assert "look at" not in tried[0].text


def test_a_second_repair_comes_when_its_pause_is_over_and_by_itself() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        await asyncio.sleep(200.0)
        first, second = bench.done("restart fetch")
        assert (first, second) == (1.0, pytest.approx(61.0, abs=1.0)), "the same was seen again for half a minute, and the pause"

    staged(play)


def test_however_often_it_was_considered_a_pause_ends_once() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        await asyncio.sleep(35.0)
        for _ in range(5):
            bench.mender.consider()
        seen = bench.settlings
        await asyncio.sleep(28.0)
        assert bench.settlings == seen + 1

    staged(play)


def test_a_proof_ends_when_its_subject_failed_or_is_gone() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.on_carry = lambda one: one.change("fetch", phase=Phase.FAILED)
        bench.mender.consider()
        await asyncio.sleep(1.0)
        assert [attempt.outcome for attempt in bench.mender.attempts] == ["useless"]
        bench.change("time", direct=HUNG)
        bench.on_carry = lambda one: one.members.pop("time")
        bench.mender.consider()
        await asyncio.sleep(1.0)
        assert bench.mender.attempts[-1].outcome == "useless"

    assert [one.member for one in staged(play).of(RepairProved)] == ["fetch", "time"]


def test_a_repair_that_brings_another_trouble_to_light_says_nothing_and_makes_way_for_that_ones() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        broken = replace(failing(Symptom.BAD_REPLY), failures=ENOUGH)
        bench.on_carry = lambda one: one.change("fetch", direct=broken, through=broken)
        bench.mender.consider()
        await asyncio.sleep(5.0)
        assert [(one.cause, one.outcome) for one in bench.mender.attempts] == [
            ("member_hung", "void"),
            ("member_failing", "under_way"),
        ]
        assert bench.of(RepairProved)[0].outcome == "failed"

    staged(play)


def test_another_trouble_that_no_repair_answers_leaves_the_proof_open() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.on_carry = lambda one: one.change("fetch", direct=failing(Symptom.AUTH))
        bench.mender.consider()
        await asyncio.sleep(60.0)
        assert [one.outcome for one in bench.mender.attempts] == ["under_way"]
        bench.change("fetch", direct=GOOD)
        await asyncio.sleep(1.0)
        assert [one.outcome for one in bench.mender.attempts] == ["proved"]

    staged(play)


@pytest.mark.slow
def test_what_is_still_starting_after_a_repair_is_given_that_time() -> None:
    async def play(bench: Bench) -> None:
        def cold(one: Bench) -> None:
            unserved = replace(failing(Symptom.NOT_MOUNTED), succeeded=False, failures=ENOUGH)
            one.change("fetch", direct=unserved, through=failing(Symptom.UPSTREAM_DOWN), child_runs=True)
            one.change("fetch", started_at=one.clock.now())

        bench.change("fetch", direct=HUNG)
        bench.on_carry = cold
        bench.mender.consider()
        await asyncio.sleep(300.0)
        assert [one.outcome for one in bench.mender.attempts] == ["under_way"]
        bench.change("fetch", direct=GOOD, through=GOOD)
        await asyncio.sleep(1.0)
        assert [one.outcome for one in bench.mender.attempts] == ["proved"]
        bench.change("fetch", direct=HUNG)
        await asyncio.sleep(30.0)
        bench.mender.consider()
        await asyncio.sleep(700.0)
        assert bench.mender.attempts[-1].cause == "member_failing", "its time is over"

    staged(play)


def test_where_nothing_can_be_said_yet_it_looks_again_at_growing_pauses_until_it_can() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", through=failing(Symptom.SESSION_LOST, since=0.9), direct=replace(GOOD, began_at=Instant(0.5)))
        bench.stale.add("fetch")
        bench.members["fetch"] = replace(bench.members["fetch"], through=replace(HUNG, began_at=Instant(0.95), since=Instant(0.9)))
        bench.mender.consider()
        bench.mender.consider()
        await asyncio.sleep(30.0)
        looks = bench.done("look fetch")
        pauses = [round(after - before, 1) for before, after in pairwise(looks)]
        assert looks[0] == 1.0
        assert pauses[:6] == [0.3, 0.5, 0.9, 1.7, 3.3, 5.1]
        assert set(pauses[6:]) == {5.1}
        bench.change("fetch", through=GOOD)
        bench.mender.consider()
        await asyncio.sleep(30.0)
        settled = len(bench.done("look fetch"))
        bench.change("fetch", through=replace(HUNG, began_at=Instant(0.95), since=Instant(0.9)))
        bench.mender.consider()
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert len(bench.done("look fetch")) == settled + 1, "the first look of a new doubt is at once"

    staged(play)


def test_what_would_be_repaired_on_old_evidence_is_looked_at_first_member_or_route() -> None:
    async def play(bench: Bench) -> None:
        await asyncio.sleep(9.0)
        bench.stale = {"fetch", "time"}
        old = {"began_at": Instant(5.0), "at": Instant(5.5)}
        hung = replace(HUNG, began_at=Instant(5.0), at=Instant(5.5))
        bench.change("fetch", direct=hung, through=hung)
        bench.traits = {"reconnects": False}
        fine = replace(GOOD, began_at=Instant(5.2), at=Instant(5.4))
        bench.change("time", direct=fine, route="clock", through=replace(failing(Symptom.SESSION_LOST), **old))  # pyright: ignore[reportArgumentType]
        bench.mender.consider()
        await asyncio.sleep(0.1)
        assert [found.next.partition(" (")[2] for found in bench.mender.current] == ["looking again before it)"] * 2
        assert {what for _, what in bench.asked} == {"look fetch", "look time"}
        assert bench.of(RepairTried) == []

    staged(play)


def test_an_operator_who_acts_on_a_member_clears_what_was_tried_for_it_and_its_route_alone() -> None:
    async def play(bench: Bench) -> None:
        def tried(about: str, subject: str) -> Attempt:
            return Attempt(Instant(0.5), about, "x", Step("restart", subject), "useless", Instant(0.6))

        kept = [tried("member:time", "time"), tried("route:clock", "proxy")]
        gone = [tried("member:fetch", "proxy"), tried("route:web", "proxy"), tried("route:clock", "fetch")]
        bench.mender.attempts = (*kept, *gone)
        bench.mender.forget("fetch", "web")
        assert bench.mender.attempts == tuple(kept)
        bench.mender.attempts = (tried("route:fetch", "proxy"),)
        bench.mender.forget("fetch")
        assert bench.mender.attempts == ()

    staged(play)


def test_a_loop_that_is_closed_does_nothing_more_not_even_later() -> None:
    async def play(bench: Bench) -> None:
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        await asyncio.sleep(125.0)
        seen, done = bench.settlings, len(bench.asked)
        bench.mender.soon()
        bench.mender.close()
        bench.mender.soon()
        bench.mender.consider()
        await asyncio.sleep(300.0)
        assert (bench.settlings, len(bench.asked)) == (seen, done)

    staged(play)


FOUND = Finding("stale_session", "proxy", "stale", "route:web")
ROUTED = replace(FETCH, route="web")


@pytest.mark.parametrize(
    ("about", "member", "proved"),
    [
        ("route:web", ROUTED, True),
        ("route:web", replace(ROUTED, through=replace(OK, began_at=Instant(90.0))), True),
        ("route:web", replace(ROUTED, through=replace(OK, began_at=Instant(89.9))), False),
        ("route:web", replace(ROUTED, through=replace(OK, began_at=None)), False),
        ("route:web", replace(ROUTED, through=replace(OK, failures=1)), False),
        ("route:web", replace(ROUTED, direct=failing(Symptom.AUTH)), True),
        ("route:web", replace(ROUTED, through=None), True),
        ("route:web", replace(ROUTED, through=Observation()), True),
        ("route:web", replace(ROUTED, phase=Phase.STARTING), False),
        ("route:fetch", replace(ROUTED, through=failing(Symptom.CUT)), True),
        ("member:fetch", ROUTED, True),
        ("member:fetch", replace(ROUTED, direct=failing(Symptom.AUTH)), False),
        ("member:fetch", replace(ROUTED, through=failing(Symptom.AUTH)), True),
        ("member:git", replace(HOSTED, through=failing(Symptom.CUT)), False),
        ("member:nobody", replace(ROUTED, want=Want.DOWN, phase=Phase.STOPPED), True),
    ],
)
def test_a_repair_is_proved_by_what_it_was_about_seen_well_since_it_began(
    about: str, member: MemberSnapshot, *, proved: bool
) -> None:
    fleet = FleetSnapshot(Instant(100.0), (member, PROXY), "proxy")
    assert well(fleet, replace(FOUND, about=about), Instant(90.0)) is proved


@pytest.mark.parametrize(
    ("seen_at", "now", "outcome"), [(70.0, 100.0, "useless"), (69.9, 100.0, None), (70.0, 99.9, None), (None, 100.0, None)]
)
def test_a_repair_was_useless_when_the_same_is_seen_since_and_time_enough_has_passed(
    seen_at: float | None, now: float, outcome: str | None
) -> None:
    same = Finding(
        "member_hung", "fetch", "hangs", "member:fetch", rung="restart", seen_at=None if seen_at is None else Instant(seen_at)
    )
    proof = Proof(Act(Step("restart", "fetch"), (same,)), Instant(60.0), {}, done=Instant(70.0))
    assert proof.outcome(same, FleetSnapshot(Instant(now), (), "proxy"), (same,)) == outcome
    held = replace(same, hold="it is starting")
    assert proof.outcome(held, FleetSnapshot(Instant(now), (), "proxy"), (held,)) is None
