"""Which silence may be over already, and how one is asked once more before a restart."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Symptom
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.doubt import ENOUGH, brief, doubt, one_more, silent_long
from mcpwatch.watchdog.history import CheckHistory
from mcpwatch.watchdog.ladder import choose
from tests.watchdog.mend_bench import HUNG, Bench, staged
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROXY, TIME, bad, one

SILENT = replace(bad(Symptom.TIMEOUT), began_at=Instant(89.5), at=Instant(99.5))
"""After ten seconds."""


def test_only_a_long_silence_that_nobody_asked_about_since_may_be_over() -> None:
    assert silent_long(SILENT)
    assert silent_long(replace(SILENT, result=ProbeResult(Outcome.FAILURE, Symptom.NO_REPLY)))
    assert silent_long(replace(SILENT, began_at=Instant(96.9)))
    for told in (OK, replace(SILENT, began_at=Instant(97.0)), replace(SILENT, brief=True), replace(SILENT, began_at=None)):
        assert not silent_long(told)
    assert not silent_long(replace(SILENT, at=None))
    assert not silent_long(replace(bad(Symptom.RPC_ERROR), began_at=Instant(89.5))), "an error is told at its end"


def test_failures_between_which_it_answers_are_no_reason_for_a_restart_yet() -> None:
    error = replace(bad(Symptom.HTTP_STATUS), failures=ENOUGH, spells=2)
    assert doubt(error) == ""
    assert doubt(replace(error, failures=ENOUGH - 1)) == "wavering"
    assert doubt(replace(error, spells=3)) == "wavering"
    assert doubt(replace(error, spells=3), certain=True) == ""
    assert doubt(replace(error, failures=1), certain=True) == ""
    assert doubt(replace(error, failures=0, spells=3)) == doubt(None) == doubt(OK) == ""
    assert doubt(SILENT) == "silent", "who says nothing at all is not asked eight times"
    assert doubt(SILENT, certain=True) == "silent"
    assert doubt(replace(SILENT, spells=3)) == "wavering"
    assert doubt(bad(Symptom.REFUSED)) == ""


def test_each_finding_says_whether_it_rests_on_such_a_silence() -> None:
    assert one(replace(FETCH, direct=SILENT, through=SILENT), TIME, PROXY).unsure == "silent"
    assert not one(replace(FETCH, direct=replace(SILENT, brief=True), through=SILENT), TIME, PROXY).unsure
    assert one(replace(HOSTED, through=SILENT), TIME, PROXY).unsure == "silent"
    direct = replace(OK, began_at=Instant(99.2))
    assert one(replace(FETCH, direct=direct, through=SILENT), TIME, PROXY).unsure == "silent", "a route that the proxy spoils"


def test_of_a_silent_proxy_one_who_was_asked_a_moment_ago_is_enough_and_says_when() -> None:
    silent = replace(SILENT, since=Instant(20.0))
    members = [replace(FETCH, direct=OK, through=silent), replace(TIME, direct=OK, through=silent)]
    front = replace(PROXY, direct=silent)
    assert one(*members, front).unsure == "silent"
    told = one(
        replace(members[0], through=replace(silent, brief=True, began_at=Instant(96.0), at=Instant(98.0))), members[1], front
    )
    assert (told.cause, told.unsure, told.seen_until) == ("proxy_hung", "", 98.0)
    assert one(*members, front).seen_until == 99.5


def test_a_restart_waits_for_one_more_look_and_a_reconnect_does_not() -> None:
    told = one(replace(FETCH, direct=SILENT, through=SILENT), TIME, PROXY)
    choice = choose(told, (), Instant(100.0))
    assert (choice.step, choice.look, choice.brief, choice.why) == (None, True, True, "asking once more before it")
    sure = choose(replace(told, unsure=""), (), Instant(100.0))
    assert (sure.look, sure.step) == (False, sure.next)
    nudge = choose(replace(told, rung="reconnect"), (), Instant(100.0))
    assert nudge.step is not None
    assert choose(replace(told, rung="resume"), (), Instant(100.0)).step is not None
    old = choose(told, (), Instant(103.0))
    assert (old.look, old.brief) == (True, False), "it is looked at in full where it was seen long ago"


@pytest.mark.parametrize(("timeout", "took", "given"), [(10.0, 0.1, 2.0), (10.0, 1.5, 6.0), (10.0, 9.0, 10.0), (1.0, 0.1, 1.0)])
def test_a_brief_look_has_as_much_time_as_one_needs_that_is_well(timeout: float, took: float, given: float) -> None:
    assert brief(CheckSpec("mcp", timeout=timeout), CheckHistory(took=took)).timeout == given


def test_one_more_silence_is_told_in_the_words_of_the_long_one_and_everything_else_in_its_own() -> None:
    long = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, message="no answer within 10s")
    short = replace(long, message="no answer within 2s")
    error = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR)
    assert one_more(CheckHistory(latest=long), short) is long
    assert one_more(CheckHistory(latest=error), short) is short
    assert one_more(CheckHistory(latest=long), error) is error
    assert one_more(CheckHistory(latest=ProbeResult(Outcome.SUCCESS)), short) is short
    assert one_more(CheckHistory(), short) is short


def test_the_loop_asks_briefly_and_repairs_nothing_before_the_answer() -> None:
    async def play(bench: Bench) -> None:
        await asyncio.sleep(11.0)
        bench.stale.add("fetch")
        silent = replace(HUNG, began_at=Instant(1.5), at=Instant(11.5))
        bench.change("fetch", direct=silent, through=silent)
        bench.mender.consider()
        await asyncio.sleep(0.5)

    bench = staged(play)
    assert [asked for _, asked in bench.asked][:2] == ["look fetch briefly"] * 2
    assert bench.done("restart") == []
    assert [found.next for found in bench.mender.current] == ["restart the member (asking once more before it)"]
