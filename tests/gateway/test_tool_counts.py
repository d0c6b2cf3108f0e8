"""What the gateway counts for the objectives of its owner: tool calls that were answered, those that failed, clients at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mcpwatch.gateway.protocol.call import FINAL, PART, Delivery
from mcpwatch.gateway.session.mcp_request import WATCHDOG
from mcpwatch.gateway.session.tool_outcome import CountedCall, CountedStream, count
from mcpwatch.gateway.upstream.answer_record import Counts
from tests.gateway.program import ACCEPT, TINY, Gateway, call, gateway, http, request, sse

pytestmark = pytest.mark.anyio

TEXT = '{"content":[{"type":"text","text":"he said \\"isError\\": true and \\"error\\""}]'

FAILING = call(2, "answer_as", before='{"jsonrpc":"2.0","id":', after=',"result":{"content":[],"isError":true}}')
"""A call that the tiny server answers with a failure."""


@pytest.mark.parametrize(("answer", "counted", "failed"), [
    ('{"jsonrpc":"2.0","id":1,"result":{"content":[]}}', 1, 0),
    ('{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}', 1, 0),
    ('{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError" : true}}', 1, 1),
    ('{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool"}}', 1, 1),
    ('{"jsonrpc":"2.0","id":1,"error":null,"result":{"content":[]}}', 1, 0),
    ('{"jsonrpc":"2.0","id":1,"result":' + TEXT + "}}", 1, 0),
    ('{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"isError":true,"error":1},"isError":false}}', 1, 0),
    ('{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"x":NaN},"isError":true}}', 1, 1),
    ('{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{}}}', 0, 0),
    ('{"jsonrpc":"2.0","id":1,"result":["error",{"isError":true}]}', 1, 1),
])  # fmt: skip
def test_an_answer_counts_once_and_is_a_failure_when_it_says_so(answer: str, counted: int, failed: int) -> None:
    counts = Counts()
    count(answer.encode(), counts)
    assert (counts.tool_calls, counts.tool_errors) == (counted, failed)


def test_what_comes_before_an_answer_counts_nothing_and_a_call_given_up_neither() -> None:
    counts, taken = Counts(), list[tuple[bytes, Delivery]]()

    class Kept:
        def deliver(self, data: bytes, share: Delivery) -> None:
            taken.append((data, share))

    counted = CountedCall(Kept(), counts)
    counted.deliver(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error"}}', PART)
    counted.deliver(b"", FINAL)
    assert (counts.tool_calls, counts.tool_errors, len(taken)) == (0, 0, 2)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_answer_in_a_stream_counts_however_it_is_cut(size: int) -> None:
    told: dict[str, Any] = {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "error", "data": {"isError": True}},
    }
    asked: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {}}
    answer: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"content": [{"text": 'a "method"'}], "method": 1, "isError": True},
    }
    stream = "".join(f": ping\n\nevent: message\ndata: {json.dumps(one)}\n\n" for one in (told, asked, answer)).encode()
    counts = Counts()
    counted = CountedStream(counts)
    for begin in range(0, len(stream), size):
        counted.feed(stream[begin : begin + size])
    assert (counts.tool_calls, counts.tool_errors) == (1, 1)


@pytest.fixture
def served() -> Iterator[Gateway]:
    dead: dict[str, Any] = {"command": "/bin/false", "args": []}
    with gateway({"servers": {"tiny": TINY, "dead": dead}}) as running:
        running.wait({"tiny": "running"})
        yield running


def seen(served: Gateway, member: str) -> tuple[int, int, int]:
    shown = served.members()[member]
    return shown["tool_calls"], shown["tool_errors"], shown["clients"]


async def test_calls_of_every_wire_are_counted_and_those_of_the_watchdog_are_not(served: Gateway) -> None:
    watchdog = {"user-agent": WATCHDOG.decode() + "0.1.0"}
    async with sse(f"{served.url}/tiny/sse") as old, http(f"{served.url}/tiny/mcp") as new, http(f"{served.url}/mcp") as all_:
        await old.hello()
        await new.hello()
        await all_.hello()
        await old.ask(call(1, "echo"))
        assert (await new.post(call(1, "echo"))).status_code == 200
        assert "isError" in (await new.post(FAILING)).text
        assert "error" not in (await all_.post(call(1, "tiny__echo"))).text
        await new.post(request(3, "tools/list"))
        assert seen(served, "tiny") == (4, 1, 3)
        async with sse(f"{served.url}/tiny/sse", watchdog) as check, http(f"{served.url}/tiny/mcp", watchdog) as other:
            await check.hello()
            await check.ask(FAILING)
            await other.hello()
            await other.post(FAILING)
            await other.client.post(f"{served.url}/tiny/rpc", json=FAILING, headers=ACCEPT)
            assert seen(served, "tiny") == (4, 1, 3)
    page = (await _page(served)).splitlines()
    assert 'mcpwatch_gateway_member_tool_calls_total{member="tiny"} 4' in page
    assert 'mcpwatch_gateway_member_tool_errors_total{member="tiny"} 1' in page


async def test_a_call_to_a_member_that_is_down_failed(served: Gateway) -> None:
    served.wait({"dead": "backoff"})
    async with http(f"{served.url}/dead/mcp") as one, http(f"{served.url}/mcp") as all_:
        answer = await one.client.post(f"{served.url}/dead/rpc", json=call(1, "echo"), headers=ACCEPT)
        assert answer.status_code == 503
        await all_.hello()
        assert "error" in (await all_.post(call(2, "dead__echo"))).text
    assert seen(served, "dead")[:2] == (2, 2)


async def _page(served: Gateway) -> str:
    async with http(f"{served.url}/metrics") as one:
        return (await one.client.get(one.url)).text
