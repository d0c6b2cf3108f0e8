"""A silent member whose clients get answers is busy, and never restarted; one that answers nobody any more is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.model.member import ClientCalls, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.clients_served import GIVEN_UP_PATIENCE, meanwhile
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories, Sight, fold
from mcpwatch.watchdog.snapshot import Observation
from mcpwatch.watchdog.take_snapshot import observe
from tests.watchdog.scenes import FETCH, HOSTED, PROXY, TIME, bad, one

BEGUN = Instant(90.0)
BEFORE, SINCE = Instant(89.9), Instant(90.1)
SILENT = replace(bad(Symptom.TIMEOUT), began_at=BEGUN, onset=Instant(80.0))


def timed_out(symptom: Symptom = Symptom.TIMEOUT, stage: Stage = Stage.TOOLS_LIST) -> ProbeResult:
    return ProbeResult(Outcome.FAILURE, symptom, stage, "no answer")


@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.NO_ENDPOINT])
def test_a_check_that_got_nothing_while_clients_got_answers_tells_that_it_is_busy(symptom: Symptom) -> None:
    told = meanwhile(timed_out(symptom), ClientCalls(answered_at=SINCE, lately=12), BEGUN)
    assert (told.outcome, told.symptom) == (Outcome.DEGRADED, Symptom.SLOW)
    assert told.message == "it is busy: no answer, while it answered clients (12 requests in the last minute)"


@pytest.mark.parametrize(
    ("result", "calls"),
    [
        (timed_out(), ClientCalls(answered_at=BEFORE, lately=9)),
        (timed_out(), ClientCalls(waiting_since=BEFORE)),
        (timed_out(stage=Stage.CANARY), ClientCalls(answered_at=SINCE)),
        (timed_out(Symptom.RPC_ERROR), ClientCalls(answered_at=SINCE)),
        (timed_out(Symptom.TOOL_ERROR, Stage.CANARY), ClientCalls(answered_at=SINCE, called_at=SINCE)),
        (timed_out(Symptom.REFUSED), ClientCalls(answered_at=SINCE)),
        (replace(timed_out(Symptom.NO_REPLY), said="something else"), ClientCalls(answered_at=SINCE)),
        (ProbeResult(Outcome.SUCCESS), ClientCalls(answered_at=SINCE)),
    ],
    ids=["answers before", "none yet", "lists for a call", "an error", "a tool's error", "refused", "another answer", "well"],
)
def test_nothing_else_is_excused_by_answers_to_clients(result: ProbeResult, calls: ClientCalls) -> None:
    assert meanwhile(result, calls, BEGUN) is result


def test_one_whose_clients_were_answered_since_its_check_began_is_left_alone_on_every_vantage() -> None:
    served = ClientCalls(answered_at=Instant(95.0), called_at=Instant(95.0), lately=1)
    both = replace(FETCH, direct=SILENT, through=SILENT, calls=served)
    for member in (replace(HOSTED, through=SILENT, calls=served), both, replace(FETCH, through=SILENT, calls=served)):
        told = one(member, TIME, PROXY, nudges=True)
        assert (told.rung, told.hold) == (None, "left alone while it answers its clients (1 request in the last minute)"), member


@pytest.mark.parametrize(
    ("calls", "held"),
    [
        (ClientCalls(Instant(86.0), answered_at=Instant(85.9)), True),
        (ClientCalls(Instant(86.0), answered_at=Instant(85.9), given_up=Instant(86.0)), True),
        (ClientCalls(Instant(92.0), answered_at=Instant(85.9)), False),
        (ClientCalls(Instant(86.0), answered_at=Instant(79.0)), False),
        (ClientCalls(given_up=Instant(100.0 - GIVEN_UP_PATIENCE)), False),
        (ClientCalls(given_up=Instant(99.0 - GIVEN_UP_PATIENCE + 2.0)), True),
    ],
    ids=["at the next", "given up just now", "it came later", "silent before", "given up long ago", "given up lately"],
)
def test_one_that_answered_until_its_present_request_is_left_to_that_and_no_longer(calls: ClientCalls, held: bool) -> None:
    told = one(replace(HOSTED, through=SILENT, calls=calls), TIME, PROXY, nudges=True)
    assert (told.rung, bool(told.hold)) == ("restart", held)


CHECK = CheckSpec(name="mcp", kind="mcp", interval=2.0, timeout=3.0, failure_threshold=2)
CLIENT_LIMIT, PLAYED = 60.0, 300.0


def answers(calls: list[float], until: float) -> list[float]:
    """When a server of one thread answers clients that call again as soon as they are answered; the first call is sent at 0."""
    ends = [0.0]
    while ends[-1] <= until:
        ends.append(ends[-1] + calls[(len(ends) - 1) % len(calls)])
    return ends[1:-1]


def watched(ends: list[float], clients: int) -> Iterator[tuple[float, Observation, ClientCalls]]:
    """What checks see that stand behind one call of each client in the same queue, and what the gateway tells when each is over."""
    history, at = CheckHistory(), 0.05
    while at < PLAYED:
        turn = bisect_right(ends, at) + clients - 1
        answered = ends[turn] if turn < len(ends) else inf
        over = min(answered, at + CHECK.timeout)
        done = bisect_right(ends, over)
        began = ends[done - clients] if done >= clients else 0.0  # the oldest was sent when its client got its last answer
        gave_up = began if over - began > CLIENT_LIMIT else None
        last = Instant(ends[done - 1]) if done else None
        waiting = Instant(over - (over - began) % CLIENT_LIMIT)
        told = ClientCalls(waiting, last, last, given_up=None if gave_up is None else Instant(gave_up), lately=done)
        result = ProbeResult(Outcome.SUCCESS) if answered <= over else meanwhile(timed_out(), told, Instant(at))
        brief = history.streaks.failures > CHECK.failure_threshold
        history = fold(history, result, CHECK, Sight(Instant(at), Instant(over), WallTime(over), brief=brief))
        histories = Histories()
        histories[CheckKey("git", "mcp", "route")] = history
        seen = observe(histories, "git", "route")
        assert seen is not None
        yield over, seen, told
        at = over + 0.5


def restarted_at(ends: list[float], clients: int) -> float | None:
    """When it would be restarted."""
    for at, seen, told in watched(ends, clients):
        member = replace(HOSTED, through=seen, calls=told, started_at=Instant(-100.0))
        if seen.verdict is Verdict.UNHEALTHY:
            found = one(member, TIME, PROXY, nudges=True, at=Instant(at))
            if found.rung is not None and not found.hold:
                return at
    return None


@given(st.lists(st.floats(0.5, 50.0), min_size=1, max_size=6), st.integers(1, 8))
def test_no_server_of_one_thread_is_restarted_while_its_queue_moves(calls: list[float], clients: int) -> None:
    if max(calls) * clients < CLIENT_LIMIT:  # else its clients give up before it comes to them
        assert restarted_at(answers(calls, 2.0 * PLAYED), clients) is None


@given(st.lists(st.floats(0.5, 5.0), min_size=1, max_size=6), st.integers(1, 8), st.floats(0.0, 100.0))
def test_one_that_hangs_in_the_midst_of_its_queue_is_restarted_when_its_clients_gave_up(
    calls: list[float], clients: int, hangs: float
) -> None:
    ends = answers(calls, hangs)
    at = restarted_at(ends, clients)
    assert at is not None
    assert hangs - max(calls) <= at < hangs + CLIENT_LIMIT + max(calls) * (clients + 1) + 30.0
