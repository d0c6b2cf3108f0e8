"""What a check expected against what it got, and what a failed tool call means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcpwatch.checks.expectations import call, fingerprint, identity, listing, safe_tool, text_of, tool_error, tools_of
from mcpwatch.checks.failure import UNCUT_LIMIT, ProbeFailure
from mcpwatch.checks.shape import unlike
from mcpwatch.model.probe import Expect, ServerInfo, Stage, Symptom, Tool

Json = dict[str, Any]
A, B = Tool("a", "1"), Tool("b", "2")


def test_tools_are_kept_in_their_order_with_what_they_say_of_themselves() -> None:
    found = tools_of(
        [
            {"name": "b", "annotations": {"readOnlyHint": True}},
            {"name": "a", "annotations": {"readOnlyHint": "yes"}},
            {"name": "c", "annotations": None},
        ]
    )
    assert [(tool.name, tool.read_only) for tool in found] == [("b", True), ("a", False), ("c", False)]
    assert len({tool.fingerprint for tool in found}) == 3


@pytest.mark.parametrize("tool", [{}, {"name": ""}, {"name": 5}, {"description": "d" * 200}])
def test_a_tool_without_a_name_is_a_bad_reply_that_shows_it(tool: Json) -> None:
    with pytest.raises(ProbeFailure) as caught:
        tools_of([{"name": "a"}, tool])
    assert (caught.value.symptom, caught.value.stage) == (Symptom.BAD_REPLY, Stage.TOOLS_LIST)
    shown = caught.value.message.removeprefix("a listed tool has no name: ")
    assert json.dumps(tool).startswith(shown.removesuffix("…"))
    assert len(shown) <= 100


def test_the_fingerprint_of_a_list_is_that_of_its_tools_in_any_order() -> None:
    assert fingerprint((A, B)) == fingerprint((B, A)) != fingerprint((A,))


@pytest.mark.parametrize(
    ("expect", "server", "words"),
    [
        (Expect(), ServerInfo("a", "1"), ""),
        (Expect(server_name="a", server_version="1"), ServerInfo("a", "1"), ""),
        (Expect(server_name="b"), ServerInfo("a"), "the server calls itself 'a', expected 'b': somebody else answers here"),
        (Expect(server_name="b"), ServerInfo(), "the server calls itself 'nothing', expected 'b': somebody else answers here"),
        (Expect(server_version="2"), ServerInfo("a", "1"), "the server is version '1', expected '2'"),
        (Expect(server_version="2"), ServerInfo("a"), "the server is version 'unknown', expected '2'"),
    ],
)
def test_another_server_than_the_expected_one_is_told(expect: Expect, server: ServerInfo, words: str) -> None:
    wrong = identity(expect, server)
    assert (wrong.message if wrong else "") == words
    assert wrong is None or (wrong.symptom, wrong.stage) == (Symptom.WRONG_SERVER, Stage.INITIALIZE)


@pytest.mark.parametrize(
    ("expect", "tools", "symptom", "words"),
    [
        (Expect(), (A,), None, ""),
        (Expect(), (), Symptom.EMPTY_TOOLS, "the server lists no tools at all"),
        (Expect(min_tools=1), (), Symptom.EMPTY_TOOLS, "the server lists no tools at all"),
        (Expect(min_tools=0), (), None, ""),
        (Expect(min_tools=0), (A,), None, ""),
        (Expect(min_tools=2), (A,), Symptom.MISSING_TOOLS, "1 tools listed, expected at least 2"),
        (Expect(min_tools=2), (A, B), None, ""),
        (Expect(tools=("a", "b")), (A, B), None, ""),
        (Expect(tools=("a", "x", "y")), (A, B), Symptom.MISSING_TOOLS, "not listed: x, y"),
        (Expect(tools=tuple("cdefghijkl")), (A, B), Symptom.MISSING_TOOLS, "not listed: c, d, e, f, g, h, i, j"),
    ],
)
def test_a_list_is_what_was_expected_or_the_failure_says_what_is_missing(
    expect: Expect, tools: tuple[Tool, ...], symptom: Symptom | None, words: str
) -> None:
    wrong = listing(expect, tools)
    assert (wrong.symptom if wrong else None, wrong.message if wrong else "") == (symptom, words)
    assert wrong is None or wrong.stage is Stage.TOOLS_LIST


def text(*texts: object) -> Json:
    return {"content": [{"type": "text", "text": text} for text in texts]}


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (text("a", "b"), "a\nb"),
        (text("a", "", "b"), "a\nb"),
        ({"content": [{"type": "image"}, "odd", {"text": "a"}]}, "a"),
        ({"content": "text"}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_a_result_is_that_of_all_its_blocks(result: Json, found: str) -> None:
    assert text_of(result) == found


def test_a_call_that_failed_is_the_fault_of_the_tool_unless_the_words_are_those_of_a_gateway() -> None:
    assert tool_error(text("session not found"), "t", "route") is None
    assert tool_error(text("no") | {"isError": False}, "t", "route") is None
    own = tool_error(text("connection refused by db") | {"isError": True}, "t", "route")
    assert own is not None
    assert (own.symptom, own.message, own.said) == (
        Symptom.TOOL_ERROR,
        "calling t failed: connection refused by db",
        "connection refused by db",
    )
    foreign = tool_error(text("session not found") | {"isError": True}, "t", "route")
    assert foreign is not None
    assert (foreign.symptom, foreign.said) == (Symptom.STALE_SESSION, "session not found")
    assert foreign.message == "calling t failed, and not in the tool: session not found"
    silent = tool_error({"isError": True}, "t", "direct")
    assert silent is not None
    assert (silent.symptom, silent.message) == (Symptom.UPSTREAM_DOWN, "calling t failed, and not in the tool: no reason given")


READ = {"readOnlyHint": True}
NEEDS = {"required": ["path"]}


@pytest.mark.parametrize(
    ("tool", "safe"),
    [
        ({"annotations": READ, "inputSchema": NEEDS}, True),
        ({"annotations": READ | {"destructiveHint": False}, "inputSchema": NEEDS}, True),
        ({"annotations": READ | {"destructiveHint": True}, "inputSchema": NEEDS}, False),
        ({"annotations": {"readOnlyHint": "yes"}, "inputSchema": NEEDS}, False),
        ({"annotations": {}, "inputSchema": NEEDS}, False),
        ({"annotations": READ, "inputSchema": {}}, False),
        ({"annotations": READ, "inputSchema": {"required": []}}, False),
        ({"annotations": None, "inputSchema": NEEDS}, False),
        ({"annotations": READ, "inputSchema": None}, False),
    ],
)
def test_only_a_read_only_tool_that_needs_arguments_is_called_without_any(tool: Json, safe: bool) -> None:
    other = {"name": "other", "annotations": None}
    assert safe_tool([other, {"name": "t"} | tool]) == ("t" if safe else None)


SCHEMA = json.dumps({"type": "object", "required": ["n"]})


@pytest.mark.parametrize(
    ("expect", "result", "words"),
    [
        (Expect(), text("all well"), ""),
        (Expect(contains="well"), text("all well"), ""),
        (Expect(contains="ill"), text("all well"), "does not contain 'ill'"),
        (Expect(contains="n"), {"structuredContent": {"n": "é"}}, ""),
        (Expect(contains="é"), {"structuredContent": {"n": "é"}}, ""),
        (Expect(regex="w.ll"), text("all well"), ""),
        (Expect(regex="i+ll"), text("all well"), "does not match /i+ll/"),
        (Expect(regex="x" * 200), text("all well"), f"does not match /{'x' * 99}…/"),
        (Expect(jsonpath="$.n"), {"structuredContent": {"n": 1}}, ""),
        (Expect(jsonpath="$.n"), {"structuredContent": {"m": 1}}, "has nothing at $.n"),
        (Expect(json_schema=SCHEMA), text('{"n": 1}'), ""),
        (Expect(json_schema=SCHEMA), text('{"m": 1}'), "does not satisfy its schema: 'n' is a required property"),
        (Expect(contains="x"), text("boom") | {"isError": True}, "calling t failed: boom"),
    ],
)
def test_the_result_of_a_canary_is_what_was_expected_or_the_failure_says_why(expect: Expect, result: Json, words: str) -> None:
    wrong = call(expect, result, "t", "direct")
    told = wrong.message.removeprefix("the result of t ") if wrong else ""
    assert told == words
    assert wrong is None or wrong.symptom is (Symptom.TOOL_ERROR if "boom" in words else Symptom.UNEXPECTED)


def test_a_result_that_is_not_as_expected_is_shown_in_a_bounded_line() -> None:
    wrong = call(Expect(contains="x"), text("a\n" * 5000), "t", "direct")
    assert wrong is not None
    assert wrong.said == "a " * (UNCUT_LIMIT // 2 - 1) + "a…"


@pytest.mark.parametrize(
    ("expect", "result", "said", "words"),
    [
        (Expect(jsonpath="$.n"), {"structuredContent": {"n": None}}, '{"m": 1}', ""),
        (Expect(jsonpath="$.m"), {"structuredContent": None}, '{"m": 1}', ""),
        (Expect(jsonpath="$.content"), {"content": []}, "no JSON", ""),
        (Expect(jsonpath="$.content"), {"content": []}, "[" * 100_000, ""),
        (Expect(jsonpath="$"), {}, '"a text"', ""),
        (Expect(jsonpath="$[0]"), {}, '"[1]"', "has nothing at $[0]"),
        (Expect(jsonpath="$["), {}, "{}", "cannot be looked at: "),
        (Expect(jsonpath="$.n", json_schema='{"type": "array"}'), {}, '{"n": 1}', "does not satisfy its schema: {'n': 1} is not"),
        (Expect(jsonpath="$.x", json_schema='{"type": "array"}'), {}, '{"n": 1}', "has nothing at $.x"),
        (Expect(json_schema='{"items": {"type": "null"}}'), {}, "[null, 1]", "does not satisfy its schema at 1: 1 is not of type"),
        (Expect(json_schema='{"type": 5}'), {}, "{}", "cannot be checked, the expected schema is broken: 5 is not"),
        (Expect(json_schema="{"), {}, "{}", "cannot be checked, the expected schema is broken: Expecting"),
    ],
)
def test_the_shape_of_a_result_is_looked_at_where_it_is_structured(expect: Expect, result: Json, said: str, words: str) -> None:
    told = unlike(expect, result, said)
    assert told.startswith(words)
    assert bool(told) is bool(words)
    assert len(told) < 240
