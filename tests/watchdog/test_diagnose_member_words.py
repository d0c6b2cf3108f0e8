"""Causes that a few words decide: what put itself into the background, what was cut, and a line of which life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.snapshot import Observation, ProxyLogHint
from tests.watchdog.scenes import FETCH, HOSTED, PROXY, bad, found, one

GREETED = tuple(StageTiming(stage, 0.1) for stage in (Stage.CONNECT, Stage.OPEN, Stage.INITIALIZE))


def cut(symptom: Symptom, message: str, stage: Stage | None = Stage.TOOLS_LIST) -> Observation:
    result = ProbeResult(Outcome.FAILURE, symptom, stage, message, timings=GREETED)
    return replace(bad(symptom), result=result)


def test_a_server_that_puts_itself_into_the_background_is_told_as_that() -> None:
    words = "it put itself into the background; run it in the foreground"
    finding = one(replace(FETCH, phase=Phase.BACKOFF, last_exit=words), PROXY)
    assert (finding.cause, finding.text, finding.rung) == ("daemonised", f"the member is down: {words}", None)


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (cut(Symptom.CUT, "connection lost"), "cut_short"),
        (cut(Symptom.NO_REPLY, "the stream ended"), "cut_short"),
        (cut(Symptom.NO_REPLY, "nothing came in 3 s"), "member_hung"),
        (cut(Symptom.TIMEOUT, "it ended"), "member_hung"),
        (cut(Symptom.CUT, "connection lost", stage=None), "member_hung"),
        (cut(Symptom.CUT, "connection lost", stage=Stage.INITIALIZE), "member_hung"),
    ],
)
def test_an_answer_that_was_begun_and_ended_is_told_apart_from_one_that_never_came(seen: Observation, cause: str) -> None:
    assert one(replace(FETCH, direct=seen), PROXY).cause == cause


@pytest.mark.parametrize(
    ("started", "read", "told"),
    [(20.0, 5.0, True), (20.0, 4.9, False), (None, 0.0, True), (None, -14.5, True)],
)
def test_a_line_on_stdout_is_of_this_life_if_it_came_since_the_start_or_just_before(
    started: float | None, read: float, *, told: bool
) -> None:
    """What a server writes at once may be read before its start is told."""
    hint = ProxyLogHint("git", "polluted", "stdout holds a line that is no JSON-RPC message: 'Welcome'", Instant(read))
    server = replace(HOSTED, started_at=None if started is None else Instant(started))
    causes = [finding.cause for finding in found(server, PROXY, proxy_log=(hint,)).found]
    assert causes == (["noisy_stdout"] if told else [])
