"""The stateless wire against servers in memory: what it says in headers, and what it hears."""

from __future__ import annotations

from typing import Any

import pytest

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.stateless import StatelessWire, encoded, parameter_headers
from mcpwatch.model.probe import Stage, Symptom, Target
from tests.checks.memory import MODERN, SSE, Answer, Asked, Network, event, json_of, play, result

TARGET = Target("http://h/mcp")


def modern(asked: Asked, **more: Any) -> Answer:
    return json_of(result(asked, **(MODERN if asked.rpc == "server/discover" else {"resultType": "complete"}), **more))


SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}}


def test_a_stateless_server_is_told_in_every_request_what_it_is() -> None:
    def server(asked: Asked) -> Answer:
        tools: list[Any] = [
            {"name": "weather", "inputSchema": SCHEMA},
            "odd",
            {"name": "plain", "inputSchema": {}},
            {"name": "x-mcp-header"},
        ]
        return modern(asked, tools=tools) if asked.rpc == "tools/list" else modern(asked)

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = StatelessWire(caller)
        await wire.open()
        assert (wire.server.wire, wire.server.protocol) == ("stateless", "2026-07-28")
        await wire.call("tools/list", {})
        await wire.call("tools/call", {"name": "weather", "arguments": {"city": "Zürich"}})
        await wire.call("tools/call", {"name": "plain", "arguments": {"city": "x"}})
        await wire.call("prompts/get", {"name": "greet"})
        await wire.call("resources/read", {"uri": "file:///a b "})
        await wire.close()
        heads = [{key: value for key, value in asked.headers.items() if key.startswith("mcp-")} for asked in network.asked]
        version = {"mcp-protocol-version": "2026-07-28"}
        assert heads == [
            version | {"mcp-method": "server/discover"},
            version | {"mcp-method": "tools/list"},
            version | {"mcp-method": "tools/call", "mcp-name": "weather", "mcp-param-city": "=?base64?WsO8cmljaA==?="},
            version | {"mcp-method": "tools/call", "mcp-name": "plain"},
            version | {"mcp-method": "prompts/get", "mcp-name": "greet"},
            version | {"mcp-method": "resources/read", "mcp-name": "=?base64?ZmlsZTovLy9hIGIg?="},
        ]
        assert [asked.body["id"] for asked in network.asked] == [1, 2, 3, 4, 5, 6]
        meta = network.asked[1].body["params"]["_meta"]
        assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
        assert (network.prepared, network.aborted, wire.remarks()) == (["http://h/mcp"], True, [])
        assert caller.timeline.stage is Stage.DISCOVER
        assert wire.hello["supportedVersions"] == ["2026-07-28"]

    play(server, scene, TARGET)


def test_what_a_stateless_server_asks_of_us_in_its_stream_is_not_answered() -> None:
    def asks(asked: Asked) -> Answer:
        ping = {"jsonrpc": "2.0", "id": "q", "method": "ping"}
        return Answer(headers=SSE, pieces=[event(ping), event(result(asked))])

    async def scene(caller: ProbeHttp, network: Network) -> None:
        assert await StatelessWire(caller).call("tools/list", {}) == {}
        assert len(network.asked) == 1

    play(asks, scene, TARGET)


def test_a_stateless_server_that_wants_something_first_or_refuses_is_told() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = StatelessWire(caller)
        with pytest.raises(ProbeFailure) as caught:
            await wire.call("tools/list", {})
        assert caught.value.message == "tools/list wants something first: its result is 'input_required'"
        assert caught.value.symptom is Symptom.UNEXPECTED
        with pytest.raises(ProbeFailure) as caught:
            await wire.call("tools/call", {})
        assert caught.value.symptom is Symptom.NOT_MOUNTED
        assert wire.stray_session == "stray"

    def server(asked: Asked) -> Answer:
        if asked.rpc == "tools/list":
            return json_of(result(asked, resultType="input_required"), mcp_session_id="stray")
        return Answer(404)

    play(server, scene, TARGET)


def test_a_result_of_an_old_server_that_names_no_type_is_complete() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        assert await StatelessWire(caller).call("tools/list", {}) == {"tools": None}

    play(lambda asked: json_of(result(asked, tools=None)), scene, TARGET)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        ("", "=?base64??="),
        (" a", "=?base64?IGE=?="),
        ("a\n", "=?base64?YQo=?="),
        ("=?base64?x", "=?base64?PT9iYXNlNjQ/eA==?="),
        ("\ud800", "=?base64?7aCA?="),
    ],
)
def test_a_value_travels_in_a_header_as_it_is_or_in_base64(value: str, sent: str) -> None:
    assert encoded(value) == sent


def test_every_scalar_argument_that_is_marked_travels_in_a_header_at_any_depth() -> None:
    def marked(token: object) -> dict[str, Any]:
        return {"x-mcp-header": token}

    schema: dict[str, Any] = {
        "properties": {
            "text": marked("Text"),
            "number": marked("N"),
            "flag": marked("Flag"),
            "list": marked("List"),
            "absent": marked("Absent"),
            "bad": marked("not a token"),
            "odd": marked(5),
            "bare": {},
            "rule": True,
            "deep": {"properties": {"inner": marked("Inner")}},
        }
    }
    given: dict[str, Any] = {
        "text": "a",
        "number": 1.5,
        "flag": True,
        "list": [],
        "bad": "b",
        "odd": 1,
        "bare": 1,
        "rule": 1,
        "deep": {"inner": 0},
    }
    assert parameter_headers(schema, given) == [
        ("Mcp-Param-Text", "a"),
        ("Mcp-Param-N", "1.5"),
        ("Mcp-Param-Flag", "true"),
        ("Mcp-Param-Inner", "0"),
    ]
    assert parameter_headers(schema, None) == parameter_headers({}, given) == []
