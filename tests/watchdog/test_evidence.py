"""The evidence says what came instead of what was expected."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import product

import pytest

from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Tool
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.evidence import ANSWER_MAX, SHOWN, evidence, said
from mcpwatch.watchdog.snapshot import Observation
from tests.watchdog.scenes import FETCH, OK, PROXY, bad, one
from tests.watchdog.small_fleet import PROXY as FRONT
from tests.watchdog.small_fleet import SmallFleet, fleet_story, member, plan
from tests.watchdog.small_fleet import route as routed


def line(symptom: Symptom, message: str, answer: str = "", tools: tuple[str, ...] = ()) -> str:
    listed = tuple(Tool(name, name) for name in tools)
    result = ProbeResult(Outcome.FAILURE, symptom, Stage.CANARY, message, answer, tools=listed)
    return said("direct", Observation(result=result, failures=1))


def test_an_answer_that_is_not_what_was_expected_is_shown() -> None:
    told = line(Symptom.UNEXPECTED, "the result of ask does not contain 'pong'", '{"status": "starting"}')
    assert told == """direct: unexpected: the result of ask does not contain 'pong'; it answered "{"status": "starting"}\""""
    assert line(Symptom.UNEXPECTED, "GET / does not contain 'ok'", "\x1b[31mno\x1b[0m").endswith('; it answered "no"')
    assert line(Symptom.UNEXPECTED, "the result is no answer").endswith("the result is no answer"), "nothing came"


def test_a_long_answer_is_shortened_and_one_that_the_message_has_is_not_said_twice() -> None:
    assert line(Symptom.UNEXPECTED, "wrong", "x" * 999).endswith(f'; it answered "{"x" * ANSWER_MAX}…"')
    assert line(Symptom.TOOL_ERROR, "calling ask failed: no database", "no database").endswith("failed: no database")


def test_the_tools_that_are_there_are_named_where_others_are_expected() -> None:
    assert line(Symptom.MISSING_TOOLS, "not listed: c", tools=("b", "a")).endswith("not listed: c; it lists a, b")
    assert line(Symptom.MISSING_TOOLS, "not listed: c", tools=("b\x1b[31m\n", "z" * 99)).endswith(f"; it lists b, {'z' * 60}")
    many = tuple(f"t{number:02}" for number in range(SHOWN + 3))
    assert line(Symptom.MISSING_TOOLS, "x", tools=many).endswith("t11 and 3 more")


def test_what_looks_like_a_secret_in_an_answer_or_a_message_is_not_shown() -> None:
    token = "ghp_" + "a1" * 18
    for answer in (
        f"use {token}",
        "x" * (ANSWER_MAX - 12) + f" {token}",
        f'{{"api_key": "{token}"}}',
        f"Authorization: Bearer {token}",
    ):
        told = line(Symptom.UNEXPECTED, "wrong", answer)
        assert "a1" not in told
        assert "***" in told
    assert line(Symptom.TOOL_ERROR, f"calling ask failed: bad token: {token}").endswith("bad token: ***")


def test_it_is_part_of_what_is_diagnosed() -> None:
    result = ProbeResult(Outcome.FAILURE, Symptom.UNEXPECTED, Stage.CANARY, "does not match /x/", "y")
    told = one(replace(FETCH, through=None, direct=replace(bad(Symptom.UNEXPECTED), result=result)), PROXY)
    assert any('it answered "y"' in line for line in told.evidence)


TIMES = (None, Instant(10.0), Instant(60.0), Instant(90.0))
WORDS = {
    Phase.RUNNING: "last started", Phase.STARTING: "last started", Phase.STOPPED: "was stopped", Phase.STOPPING: "was stopped",
    Phase.BACKOFF: "died", Phase.FAILED: "died",
}  # fmt: skip


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", ["ok", "bad"])
def test_what_was_seen_before_the_last_start_or_end_of_what_it_is_of_is_told_as_that(phase: Phase, kind: str) -> None:
    result = OK if kind == "ok" else bad(Symptom.TIMEOUT)
    for started, changed, began in product(TIMES, TIMES, TIMES):
        seen = replace(result, began_at=began)
        living = replace(FETCH, phase=phase, started_at=started, changed_at=changed, direct=seen, through=None)
        changes = [started] if phase is Phase.RUNNING else [started, changed]
        past = began is None or any(at is not None and began < at for at in changes)
        (line,) = (line for line in evidence(living) if line.startswith("direct"))
        assert line.startswith(f"direct (before it {WORDS[phase]}): " if past else "direct: ")
        front = replace(PROXY, phase=phase, started_at=started, changed_at=changed)
        behind = replace(
            FETCH, started_at=None, changed_at=None, direct=None, through=replace(seen, began_at=began or Instant(0.0))
        )
        past = any(at is not None and (began or 0.0) < at for at in changes)
        (line,) = (line for line in evidence(behind, front) if line.startswith("through"))
        assert line.startswith(f"through the proxy (before the proxy {WORDS[phase]}): " if past else "through the proxy: ")


@pytest.mark.parametrize("comes_back", [False, True])
def test_nothing_that_was_well_before_a_death_is_told_as_of_now(*, comes_back: bool) -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(member("a", route="a"), FRONT, routes=(routed("a"),)))
        await asyncio.sleep(60.0)
        small.runtime("process").fails = "" if comes_back else "no such file"
        small.answers["http://h/a"] = small.answers["http://p/a"] = ProbeResult(Outcome.FAILURE, Symptom.REFUSED, Stage.CONNECT)
        small.fleet.actors["a"].exited(Exited("a", 1, code=1))
        seen = set[str]()
        for _ in range(400):
            await asyncio.sleep(0.5)
            seen |= {line for found in small.fleet.view().diagnoses if found.subject == "a" for line in found.evidence}
        told = {line for line in seen if line.startswith(("direct", "through the proxy"))}
        assert told
        assert not {line for line in told if line.endswith(": ok") and "(before " not in line}
        assert comes_back or "direct (before it died): ok" in told

    fleet_story(play)
