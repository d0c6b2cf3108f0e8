"""A member without a file descriptor left is named so, by whoever says it: the kernel, its answer, or its log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import ClientCalls, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS
from mcpwatch.watchdog.starved import ASKED_SYMPTOMS, STARVED_SYMPTOMS
from tests.watchdog.scenes import FETCH, PROXY, bad, one

FULL = "1024 of 1024 are open (pid 7)"
WROTE = ("accepted 1", "OSError: [Errno 24] Too many open files", "socket.accept() failed")


@pytest.mark.parametrize("symptom", sorted(ASKED_SYMPTOMS))
def test_the_kernels_count_explains_what_one_without_descriptors_shows(symptom: Symptom) -> None:
    found = one(replace(FETCH, through=None, direct=replace(bad(symptom), failures=9), descriptors=FULL), PROXY)
    assert (found.cause, found.rung, found.text) == ("member_exhausted", "restart", f"it is out of file descriptors: {FULL}")


@pytest.mark.parametrize("symptom", [Symptom.AUTH, Symptom.DRIFT, Symptom.OVERLOADED, Symptom.EMPTY_TOOLS, Symptom.UNEXPECTED])
def test_what_it_says_of_something_else_is_believed(symptom: Symptom) -> None:
    found = one(replace(FETCH, through=None, direct=bad(symptom), descriptors=FULL, lines=WROTE), PROXY)
    assert found.cause != "member_exhausted"
    assert found.rung is None


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.TOOLS_LIST, "your licence has expired"), "licence"),
        (ProbeResult(Outcome.FAILURE, Symptom.HTTP_STATUS, Stage.OPEN, "database is locked", http_status=500), "dependency"),
        (ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.CANARY, "unknown argument", rpc_code=-32602), "config"),
        (ProbeResult(Outcome.FAILURE, Symptom.NO_REPLY, Stage.OPEN, "another id came", said="{}"), "config"),
        (ProbeResult(Outcome.FAILURE, Symptom.UNREACHABLE, Stage.CONNECT, "no route to host"), "unreachable"),
    ],
)
def test_an_old_line_of_its_log_does_not_outweigh_what_it_says_now(result: ProbeResult, cause: str) -> None:
    """A line has no time: it may be of hours ago, and what is wrong now is answered by no restart."""
    seen = replace(bad(Symptom.RPC_ERROR), result=result, failures=9)
    found = one(replace(FETCH, through=None, direct=seen, lines=WROTE), PROXY)
    assert (found.cause, found.rung) == (cause, None)


def test_its_own_answer_and_its_log_say_it_too() -> None:
    seen = replace(bad(Symptom.RPC_ERROR), failures=9)
    assert seen.result is not None
    spoken = replace(seen, result=replace(seen.result, message="tools/list: [Errno 24] Too many open files"))
    assert one(replace(FETCH, through=None, direct=spoken), PROXY).cause == "member_exhausted"
    silent = replace(FETCH, through=None, direct=bad(Symptom.TIMEOUT), lines=WROTE)
    found = one(silent, PROXY)
    assert (found.cause, found.text) == ("member_exhausted", f"it is out of file descriptors: it wrote: {WROTE[1]}")
    assert one(replace(silent, lines=WROTE[:1]), PROXY).cause == "member_hung"
    tool = replace(FETCH, through=None, direct=bad(Symptom.TOOL_ERROR), lines=WROTE)
    assert one(tool, PROXY).cause == "unexpected", "a line of its log is no answer of this tool"
    assert Symptom.TOOL_ERROR not in STARVED_SYMPTOMS


SPINNING = sorted(HUNG_SYMPTOMS & STARVED_SYMPTOMS)


@pytest.mark.parametrize("symptom", SPINNING)
def test_a_busy_processor_is_no_sign_of_work_where_the_kernel_counts_no_descriptor_left(symptom: Symptom) -> None:
    """Who cannot accept a connection is woken for it again and again, and takes a whole core."""
    silent = replace(FETCH, through=None, direct=replace(bad(symptom), succeeded=True, onset=Instant(90.0)), works=True)
    held = one(silent, PROXY)
    assert held.hold
    found = one(replace(silent, descriptors=FULL), PROXY)
    assert (found.cause, found.rung, found.hold) == ("member_exhausted", "restart", "")
    asked = one(replace(silent, descriptors=FULL, calls=ClientCalls(Instant(60.0))), PROXY)
    assert asked.hold, "a client's request that began before is left to it all the same"


@pytest.mark.parametrize("symptom", SPINNING)
def test_an_answer_now_and_then_makes_no_flapping_of_one_without_descriptors(symptom: Symptom) -> None:
    seen = replace(bad(symptom), verdict=Verdict.DEGRADED, failures=1, rate=0.85)
    found = one(replace(FETCH, through=None, direct=seen, descriptors=FULL), PROXY)
    assert (found.cause, found.rung) == ("member_exhausted", "restart")
    assert one(replace(FETCH, through=None, direct=seen), PROXY).cause == "flapping"
    well = replace(FETCH.direct or seen, rate=0.4)
    assert one(replace(FETCH, through=None, direct=well, descriptors=FULL), PROXY).cause == "flapping"
