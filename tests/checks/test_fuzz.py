"""The parsers take anything: no crash, no hang, no growth beyond their bounds."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpwatch.checks import Prober, classify, expectations, rpc
from mcpwatch.checks.caller import events
from mcpwatch.checks.failure import ProbeFailure, one_line
from mcpwatch.checks.stateless import encoded, parameter_headers
from mcpwatch.model.probe import Expect, Outcome, Target
from mcpwatch.model.spec import CheckSpec
from tests.checks.memory import SSE, Answer
from tests.parts import ROOT

T = TypeVar("T")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "event": st.sampled_from(["", "message", "endpoint"]),
            "data": st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1, max_size=30),
        }
    ),
    max_size=5,
)


def parsed(chunks: list[bytes]) -> list[tuple[str, str]]:
    """What the event parser makes of a response that arrives in these chunks."""

    async def run() -> list[tuple[str, str]]:
        answer = Answer(headers=SSE, pieces=[chunk for chunk in chunks if chunk])
        return [(event.name, event.text) async for event in events(answer.response())]

    return asyncio.run(run())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(points)]


@given(MESSAGES, st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 500), max_size=20))
def test_events_are_the_same_wherever_the_stream_is_cut(messages: list[dict[str, str]], newline: bytes, places: list[int]) -> None:
    blocks = [f"event: {m['event']}\ndata: {m['data']}\n\n" if m["event"] else f"data: {m['data']}\n\n" for m in messages]
    data = "".join(blocks).encode().replace(b"\n", newline)
    wanted = [(m["event"] or "message", m["data"]) for m in messages]
    assert [(event or "message", text) for event, text in parsed(cut(data, places))] == wanted


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_bytes_break_the_event_parser(chunks: list[bytes]) -> None:
    for _, data in parsed(chunks):
        assert data


def caught(call: Callable[[], T]) -> T | ProbeFailure:
    """What a call returns, or the trouble it raises, whose message is bounded."""
    try:
        return call()
    except ProbeFailure as trouble:
        return trouble


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_message_parser(data: bytes) -> None:
    messages = caught(lambda: rpc.parse(data))
    for message in messages if isinstance(messages, list) else []:
        rpc.asks(message)
        json.loads(rpc.reply(message))
        if rpc.answers(message, 1):
            trouble = caught(lambda message=message: rpc.outcome(message, "tools/list"))
            if isinstance(trouble, ProbeFailure):
                assert classify.refine(trouble, "route").message


@given(
    st.lists(st.dictionaries(st.sampled_from(["name", "inputSchema", "annotations", "description"]), JSON, max_size=4), max_size=4)
)
def test_no_list_breaks_what_is_made_of_it(items: list[dict[str, Any]]) -> None:
    from mcpwatch.checks.schema import lint_tools
    from mcpwatch.model.contract import changes, snapshot, weight

    try:
        tools = expectations.tools_of(items)
    except ProbeFailure:
        return
    expectations.listing(Expect(min_tools=1), tools)
    expectations.safe_tool(items)
    lint_tools(items)
    weight(items)
    assert changes(snapshot(tools=items), snapshot(tools=items)) == ()


@given(JSON, st.text(max_size=50))
@example("{", "")
def test_no_result_breaks_the_judgement_of_a_call(value: Any, text: str) -> None:
    result = {"content": value, "isError": bool(text), "structuredContent": value}
    expectations.call(Expect(contains=text, regex="a+", jsonpath="$..a", json_schema='{"type": "object"}'), result, "t", "route")


@pytest.mark.parametrize("said", ["{", "[1", "plain"])
def test_a_result_that_is_a_text_is_looked_at_as_that_text(said: str) -> None:
    result = {"structuredContent": said}
    assert expectations.call(Expect(jsonpath="$"), result, "t", "route") is None
    wrong = expectations.call(Expect(jsonpath="$.a"), result, "t", "route")
    assert "has nothing at $.a" in str(wrong)


@given(st.integers(100, 599), st.binary(max_size=300))
def test_every_status_and_body_has_a_symptom(status: int, body: bytes) -> None:
    trouble = classify.status_failure(status, {}, body, "GET /x")
    assert trouble.status == status
    assert len(trouble.said) <= 300


@given(st.text(max_size=3000))
def test_a_line_is_one_bounded_line_of_visible_characters(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100
    assert not any(character in line for character in "\n\r\x1b\x00\u202e\u2028")


@given(st.text(max_size=30))
def test_a_header_value_survives_its_coding(value: str) -> None:
    import base64

    shown = encoded(value)
    assert shown.isascii()
    assert shown.isprintable()
    if shown != value:
        body = shown.removeprefix("=?base64?").removesuffix("?=")
        assert base64.b64decode(body).decode("utf-8", "surrogatepass") == value


def test_annotated_arguments_travel_as_headers() -> None:
    schema = {"properties": {"region": {"x-mcp-header": "Region"}, "deep": {"properties": {"n": {"x-mcp-header": "N"}}}, "x": {}}}
    given_arguments = {"region": "eu west", "deep": {"n": 3}, "x": "secret"}
    assert parameter_headers(schema, given_arguments) == [("Mcp-Param-Region", "eu west"), ("Mcp-Param-N", "3")]


@pytest.mark.anyio
async def test_no_random_bytes_from_a_server_break_or_hang_a_probe() -> None:
    """Half of an answer right, the rest random: always an outcome, never `unknown`."""
    source = random.Random(7)
    heads = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
    ]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(10)
            writer.write(source.choice(heads) + source.randbytes(source.randrange(400)))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    prober = Prober()
    for wire in ("sse", "http", "stateless", "auto"):
        for _ in range(40):
            result = await prober.probe(CheckSpec("c", timeout=2), Target(f"http://127.0.0.1:{port}/x", wire), "direct")
            assert result.outcome is Outcome.FAILURE, result
            assert result.symptom is not None
    server.close()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_guided_fuzzing_finds_no_crash_no_hang_and_no_greed(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    listed = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}'
    seeds = (
        b"\x40\x01event: message\ndata: " + listed + b"\n\n",
        b'\x40\x02{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}',
        b"\x10\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = ("-max_total_time=15", "-timeout=5", "-rss_limit_mb=1024")
    command = [sys.executable, "-m", "tests.checks.fuzz_atheris", *limits, str(corpus)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
