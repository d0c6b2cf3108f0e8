"""Batches of JSON-RPC, which protocol version 2025-03-26 has and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.gateway.protocol import batch, message
from tests.gateway.generated import ANY_OBJECT
from tests.gateway.program import HELLO, TINY, Gateway, Http, call, gateway, http, messages, request, sse, text

pytestmark = pytest.mark.anyio
THEN = HELLO | {"protocolVersion": batch.VERSION}


@given(st.lists(ANY_OBJECT, min_size=1, max_size=5), st.sampled_from([b"", b" ", b"\n"]))
def test_each_message_of_a_batch_keeps_its_bytes(items: list[bytes], gap: bytes) -> None:
    body = gap + b"[" + gap + (gap + b"," + gap).join(items) + gap + b"]"
    assert batch.is_one(body)
    assert batch.cut(body) == items


@pytest.mark.parametrize("body", [b"[]", b"[1,]", b"[", b"[" + b"{}," * batch.LENGTH + b"{}]"])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(message.Malformed):
        batch.cut(body)


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    with gateway({"servers": {"tiny": TINY, "alone": TINY | {"sessions": "isolated"}}}) as running:
        running.wait({"tiny": "running", "alone": "running"})
        yield running


async def greet(client: Http, **capabilities: Any) -> None:
    answer = await client.post(request(0, "initialize", THEN | {"capabilities": capabilities}))
    assert answer.json()["result"]["protocolVersion"] == batch.VERSION
    client.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
    await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})


def together(*items: Any) -> bytes:
    return json.dumps(items).encode()


async def test_a_batch_is_answered_by_one_array_in_its_order(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await greet(client)
        note = {"jsonrpc": "2.0", "method": "notifications/unheard/of"}
        answer = await client.post(
            together(call("b", "sleep", seconds=0.05), note, call("a", "echo", x=1), 7, request(3, "no/such"))
        )
        slept, echoed, nothing, unknown = answer.json()
        assert (slept["id"], text(slept)) == ("b", "slept")
        assert (echoed["id"], text(echoed)) == ("a", {"x": 1})
        assert (nothing["id"], nothing["error"]["code"]) == (None, message.INVALID_REQUEST)
        assert (unknown["id"], unknown["error"]["code"]) == (3, message.METHOD_NOT_FOUND)


async def test_a_batch_without_requests_is_taken_and_not_answered(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await greet(client)
        answer = await client.post(together({"jsonrpc": "2.0", "method": "notifications/unheard/of"}))
        assert (answer.status_code, answer.content) == (202, b"")


async def test_what_comes_before_the_answers_makes_a_stream_with_the_array_last(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await greet(client)
        progress = request(1, "tools/call", {"name": "progress", "_meta": {"progressToken": "p"}})
        came = messages(await client.post(together(progress, call(2, "echo", x=2))))
        assert [item["params"]["progressToken"] for item in came[:2]] == ["p", "p"]
        last: Any = came[2]
        assert [item["id"] for item in last] == [1, 2]


async def test_a_batch_of_answers_reaches_the_questions(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.ask(request(0, "initialize", THEN | {"capabilities": {"sampling": {}}}))
        await client.post(together(call(1, "ask", who="one"), call(2, "ask", who="two")))
        questions = [await client.next(), await client.next()]
        await client.post(
            together(*({"jsonrpc": "2.0", "id": item["id"], "result": {"for": item["params"]["who"]}} for item in questions))
        )
        answers: Any = await client.next()
        assert [text(item)["result"] for item in answers] == [{"for": "one"}, {"for": "two"}]


async def test_initialize_is_no_part_of_a_batch(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await greet(client)
        (answer,) = (await client.post(together(request(9, "initialize", THEN)))).json()
        assert (answer["id"], answer["error"]["code"]) == (9, message.INVALID_REQUEST)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
@pytest.mark.parametrize("wire", ["sse", "mcp"])
async def test_versions_without_batches_refuse_them(served: Gateway, version: str, wire: str) -> None:
    hello = request(0, "initialize", HELLO | {"protocolVersion": version})
    body = together(call(1, "echo"))
    if wire == "sse":
        async with sse(f"{served.url}/tiny/sse") as legacy:
            await legacy.ask(hello)
            refused = await legacy.post(body)
    else:
        async with http(f"{served.url}/tiny/mcp") as client:
            client.headers["mcp-session-id"] = (await client.post(hello)).headers["mcp-session-id"]
            refused = await client.post(body)
    assert refused.status_code == 400
    assert batch.VERSION in refused.json()["error"]["message"]


async def test_a_member_may_write_a_batch_where_its_version_has_them(served: Gateway) -> None:
    async with http(f"{served.url}/alone/mcp") as client:
        await greet(client)
        came = messages(await client.post(call(1, "batch")))
        assert [item.get("params", {}).get("data") for item in came] == [1, 2, None]
    async with http(f"{served.url}/alone/mcp") as client:
        await client.hello()
        assert len(messages(await client.post(call(1, "batch")))) == 1
