"""The evidence says what came instead of what was expected."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Tool
from mcpwatch.watchdog.evidence import ANSWER_MAX, SHOWN, said
from mcpwatch.watchdog.snapshot import Observation
from tests.watchdog.scenes import FETCH, PROXY, bad, one


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
