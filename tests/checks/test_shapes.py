"""The words for what official clients refuse, and what a server may say of itself."""

from __future__ import annotations

from typing import Any

import pytest

import mcpwatch
from mcpwatch.checks import shapes
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.wire import client_info, describe, initialize_params, modern_info, server_info
from mcpwatch.model.probe import ServerInfo, Stage, Symptom
from tests.checks.memory import HELLO, MODERN

Json = dict[str, Any]
TOOL: Json = {"name": "t", "inputSchema": {"type": "object"}}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, ""),
        ({"nextCursor": "x", "_meta": {}}, ""),
        ({"nextCursor": 5}, "the cursor that m gives is no text: 5"),
        ({"nextCursor": None}, "the cursor that m gives is no text: null"),
        ({"nextCursor": ["x" * 99]}, f'the cursor that m gives is no text: ["{"x" * 57}…'),
        ({"_meta": None}, "official clients refuse the result of m: its _meta must be an object"),
    ],
)
def test_the_frame_of_a_page_is_what_official_clients_take(result: Json, words: str) -> None:
    if not words:
        shapes.page("m", result)
        return
    with pytest.raises(ProbeFailure) as caught:
        shapes.page("m", result)
    assert (caught.value.symptom, caught.value.message) == (Symptom.BAD_REPLY, words)


SCHEMA, BAD = Symptom.SCHEMA, Symptom.BAD_REPLY


@pytest.mark.parametrize(
    ("bad", "symptom", "words"),
    [
        ({"description": None}, SCHEMA, "tool 't': description is null and must be text"),
        ({"annotations": {"readOnlyHint": 1}}, SCHEMA, "tool 't': annotations.readOnlyHint is a number and must be true or false"),
        ({"inputSchema": {"type": "text"}}, SCHEMA, "tool 't': inputSchema.type: invalid enum value 'text'"),
        ({"inputSchema": {}}, SCHEMA, "tool 't': inputSchema.type is missing"),
        ({"inputSchema": {"type": "object", "required": "a"}}, SCHEMA, "tool 't': inputSchema.required is text and must be a list"),
        ({"name": ""}, BAD, "tool number 2: name: expected `str` of length >= 1"),
        ({"name": 5}, BAD, "tool number 2: name is a number and must be text"),
        ({"name": "n" * 99, "title": 1.5}, SCHEMA, f"tool '{'n' * 59}…': title is a number and must be text"),
    ],
)
def test_the_first_tool_that_costs_the_whole_list_is_named_with_what_is_wrong(bad: Json, symptom: Symptom, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        shapes.tools([TOOL, TOOL | bad, {}], modern=False)
    assert (caught.value.symptom, caught.value.stage) == (symptom, Stage.TOOLS_LIST)
    assert caught.value.message == f"official clients refuse the whole list because of {words}"


def test_a_tool_without_a_name_could_not_be_blocked() -> None:
    with pytest.raises(ProbeFailure) as caught:
        shapes.tools([{"inputSchema": {"type": "object"}}], modern=False)
    assert (caught.value.symptom, caught.value.message.partition(": ")[2]) == (BAD, "name is missing")


def test_only_a_modern_server_may_give_an_output_of_any_schema() -> None:
    loose = [TOOL | {"outputSchema": {"type": "string"}}]
    shapes.tools(loose, modern=True)
    with pytest.raises(ProbeFailure):
        shapes.tools(loose, modern=False)


REFUSED = "official clients refuse the initialize result: "


@pytest.mark.parametrize(
    ("change", "symptom", "words"),
    [
        ({"protocolVersion": ""}, BAD, "the initialize result names no protocolVersion"),
        ({"protocolVersion": 5}, BAD, "the initialize result names no protocolVersion"),
        ({"serverInfo": {"name": "m"}}, BAD, f"{REFUSED}serverInfo.version is missing"),
        ({"capabilities": {"tools": True}}, BAD, f"{REFUSED}capabilities.tools is true or false and must be an object"),
        ({"instructions": 5}, BAD, f"{REFUSED}instructions is a number and must be text"),
        (
            {"protocolVersion": "1999-01-01"},
            Symptom.ERA_MISMATCH,
            "the server negotiated protocol 1999-01-01, which no known",
        ),
        ({"protocolVersion": "v" * 99}, Symptom.ERA_MISMATCH, f"the server negotiated protocol {'v' * 39}…, which"),
    ],
)
def test_an_initialize_result_that_clients_could_not_use_is_told(change: Json, symptom: Symptom, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        server_info(HELLO | change, "http")
    assert caught.value.symptom is symptom
    assert caught.value.message.startswith(words)
    assert bool(caught.value.versions) is (symptom is Symptom.ERA_MISMATCH)


def test_a_server_is_known_by_what_it_says_of_itself_within_bounds() -> None:
    assert server_info(HELLO | {"capabilities": {"tools": {}, "prompts": {}}}, "sse") == ServerInfo(
        "m", "1", "2025-11-25", "sse", ("prompts", "tools")
    )
    long = {"name": "n" * 200, "version": "v" * 200}
    told = describe(long, "p", {f"{number:02}{'c' * 99}": {} for number in range(99)}, "http")
    assert (told.name, told.version) == ("n" * 119 + "…", "v" * 59 + "…")
    assert (len(told.capabilities), told.capabilities[0]) == (32, "00" + "c" * 57 + "…")
    assert describe("odd", "p", ["x"], "http") == describe({}, "p", None, "http") == ServerInfo(protocol="p", wire="http")


def test_a_modern_server_speaks_our_version_or_is_told_with_those_it_speaks() -> None:
    meta = {"io.modelcontextprotocol/serverInfo": {"name": "m", "version": "2"}}
    told = modern_info(MODERN | {"_meta": meta, "capabilities": {"tools": {}}}, "stateless")
    assert told == ServerInfo("m", "2", "2026-07-28", "stateless", ("tools",))
    assert modern_info(MODERN | {"_meta": "odd"}, "stdio").name == ""
    for versions, shown in ((None, "none"), ([], "none"), (["a", 5], "a, 5"), (["x"] * 8 + ["2026-07-28"], ", ".join("x" * 8))):
        with pytest.raises(ProbeFailure) as caught:
            modern_info({"supportedVersions": versions}, "http")
        assert caught.value.symptom is Symptom.ERA_MISMATCH
        assert caught.value.message == f"the server supports protocol {shown}, not 2026-07-28"
    with pytest.raises(ProbeFailure) as caught:
        modern_info({"supportedVersions": ["v" * 99]}, "http")
    assert caught.value.versions == ("v" * 39 + "…",)


def test_we_say_who_we_are_and_ask_for_the_newest_version_with_a_handshake() -> None:
    assert client_info() == {"name": "mcpwatch", "version": mcpwatch.__version__}
    assert initialize_params(client_info()) == {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info()}
