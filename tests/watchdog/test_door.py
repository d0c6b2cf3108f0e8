"""Whose trouble a refusal at the door is: a gateway's own limits and tokens say nothing of the servers that it hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.watchdog.door import turned_away
from tests.watchdog.scenes import HOSTED, PROXY, TIME, bad, one

REFUSALS = ((503, Symptom.OVERLOADED), (429, Symptom.OVERLOADED), (401, Symptom.AUTH), (403, Symptom.AUTH), (400, Symptom.REJECTED))


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.INITIALIZE, Stage.TOOLS_LIST])
@pytest.mark.parametrize(("status", "symptom"), REFUSALS)
def test_what_a_gateway_refuses_at_its_own_door_is_told_of_the_gateway_and_never_of_a_server_that_it_hosts(
    status: int, symptom: Symptom, stage: Stage
) -> None:
    result = ProbeResult(Outcome.FAILURE, symptom, stage, "more than 30 sessions for this token", http_status=status)
    found = one(replace(HOSTED, through=replace(bad(symptom, stage), result=result)), TIME, PROXY)
    assert (found.subject, found.rung, found.affects) == ("proxy", None, ("git",))
    assert turned_away(result)


def test_a_hosted_server_that_says_itself_that_it_is_overloaded_is_named() -> None:
    said = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.TOOLS_LIST, "rate limit exceeded", http_status=200)
    found = one(replace(HOSTED, through=replace(bad(Symptom.RPC_ERROR), result=said)), TIME, PROXY)
    assert (found.cause, found.subject) == ("overloaded", "git")
    assert not turned_away(said)
    assert not turned_away(None)
