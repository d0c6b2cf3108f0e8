"""Clients of the stateless wire on a member that only knows handshakes: their headers, their log level, their codes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from mcpwatch.gateway.protocol import message, stateless_protocol, translation
from mcpwatch.gateway.protocol.call import FINAL, PART, Delivery
from mcpwatch.gateway.protocol.message import MODERN
from mcpwatch.gateway.session.answer_filter import QuietLog
from tests.gateway.inside import LIMIT, Inside, inside, served
from tests.gateway.program import request

pytestmark = pytest.mark.anyio
MARKED = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
META = stateless_protocol.QUESTION["_meta"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def next_of(member: Inside, seen: int) -> dict[str, Any]:
    """What the member is asked after its first `seen` messages."""
    async with asyncio.timeout(LIMIT):
        while len(member.wires[0].sent) <= seen:  # noqa: ASYNC110  it is a matter of turns of the loop
            await asyncio.sleep(0)
    return member.wires[0].sent[seen]


async def asked(member: Inside, url: str, headers: dict[str, str], schema: dict[str, Any]) -> tuple[httpx.Response, list[str]]:
    """The answer to a call with these headers, and what the member was asked for it."""
    known: Any = member
    known._era_of = member.main.generation  # it was asked for the stateless wire, and refused
    body = request(1, "tools/call", {"name": "t", "arguments": {"region": "here"}, "_meta": META})
    wire = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "t", "Accept": "application/json"}
    seen, methods = len(member.wires[0].sent), list[str]()
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        pending = asyncio.get_running_loop().create_task(client.post(f"{url}/inside/mcp", json=body, headers=wire | headers))
        while not pending.done():
            following = asyncio.get_running_loop().create_task(next_of(member, seen))
            await asyncio.wait({pending, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                break
            sent = following.result()
            methods.append(sent["method"])
            tools = {"tools": [{"name": "t", "inputSchema": schema}]}
            result: dict[str, Any] = tools if sent["method"] == "tools/list" else {"content": []}
            member.wires[0].say({"id": sent["id"], "result": result})
            seen += 1
        return await pending, methods


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Mcp-Param-Region": "here"}, 200),
        ({"Mcp-Param-Region": "there"}, 400),
        ({}, 400),
        ({"Mcp-Param-Region": "=?base64?aGVyZQ==?="}, 200),
    ],
    ids=["same", "other", "missing", "encoded"],
)
async def test_a_header_that_does_not_repeat_its_argument_is_refused_before_the_call(headers: dict[str, str], status: int) -> None:
    async with inside() as member, served(member) as url:
        answer, methods = await asked(member, url, headers, MARKED)
        assert answer.status_code == status
        assert methods == ["tools/list", *(["tools/call"] if status == 200 else [])]
        if status != 200:
            assert answer.json()["error"]["code"] == stateless_protocol.HEADER_MISMATCH


async def test_a_member_whose_tools_want_no_header_is_asked_for_them_once() -> None:
    async with inside() as member, served(member) as url:
        assert (await asked(member, url, {}, {"type": "object"}))[1] == ["tools/list", "tools/call"]
        assert (await asked(member, url, {}, {"type": "object"}))[1] == ["tools/call"]


@pytest.mark.parametrize(("wanted", "heard"), [(None, []), ("warning", ["error"]), ("debug", ["info", "error"]), ("loud", [])])
async def test_a_client_gets_log_messages_of_the_level_that_it_asked_for_alone(wanted: str | None, heard: list[str]) -> None:
    class Kept:
        def __init__(self) -> None:
            self.said: list[dict[str, Any]] = []

        def deliver(self, data: bytes, share: Delivery) -> None:
            self.said.append(json.loads(data))

    kept = Kept()
    sink = QuietLog(kept, wanted)
    for level in ("info", "error"):
        sink.deliver(message.notification("notifications/message", {"level": level, "data": 1}), PART)
    sink.deliver(message.notification("notifications/progress", {"data": "notifications/message"}), PART)
    sink.deliver(message.result(b"1", b'{"text":"notifications/message"}'), FINAL)
    assert [said["params"]["level"] for said in kept.said if said.get("method") == "notifications/message"] == heard
    assert len(kept.said) == len(heard) + 2


def test_an_unknown_resource_has_the_code_of_the_newer_wire() -> None:
    missing = message.error(b"1", -32002, "Resource not found")
    assert json.loads(translation.completed(missing, "resources/read"))["error"]["code"] == -32602
    assert translation.completed(missing, "tools/call") == missing
    other = message.error(b"1", -32603, "broken")
    assert translation.completed(other, "resources/read") == other
