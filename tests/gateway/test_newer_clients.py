"""Clients of the stateless wire on a member that only knows handshakes: their headers, their log level, their codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
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


Listing = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""What a member says to `tools/list`, by what it was asked, the answer last."""


async def asked(
    member: Inside, url: str, headers: dict[str, str], schema: dict[str, Any], listing: Listing | None = None
) -> tuple[httpx.Response, list[str]]:
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
            said: list[dict[str, Any]] = [{"result": {"content": []}}]
            if sent["method"] == "tools/list":
                said = listing(sent) if listing is not None else [{"result": {"tools": [{"name": "t", "inputSchema": schema}]}}]
            for each in said:
                for _ in range(10):  # what was said is heard before the next
                    await asyncio.sleep(0)
                member.wires[0].say(each if "method" in each else {"id": sent["id"]} | each)
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


def _after_a_word(sent: dict[str, Any]) -> list[dict[str, Any]]:
    word = {"method": "notifications/message", "params": {"level": "info", "data": "listing"}}
    return [word, {"result": {"tools": [{"name": "t", "inputSchema": MARKED}]}}]


def _on_two_pages(sent: dict[str, Any]) -> list[dict[str, Any]]:
    if sent["params"].get("cursor") == "2":
        return [{"result": {"tools": [{"name": "t", "inputSchema": MARKED}]}}]
    return [{"result": {"tools": [{"name": "other", "inputSchema": {"type": "object"}}], "nextCursor": "2"}}]


@pytest.mark.parametrize("listing", [_after_a_word, _on_two_pages])
async def test_a_header_is_checked_wherever_the_tool_is_listed_and_whatever_is_said_before(listing: Listing) -> None:
    async with inside() as member, served(member) as url:
        answer, methods = await asked(member, url, {"Mcp-Param-Region": "there"}, {}, listing)
        assert (answer.status_code, set(methods)) == (400, {"tools/list"})
        answer, methods = await asked(member, url, {"Mcp-Param-Region": "there"}, {}, listing)
        assert (answer.status_code, set(methods)) == (400, {"tools/list"})


async def test_a_list_that_failed_is_not_remembered() -> None:
    async with inside() as member, served(member) as url:
        failed: Listing = lambda _: [{"error": {"code": -32603, "message": "not now"}}]  # noqa: E731
        assert (await asked(member, url, {}, {}, failed))[1] == ["tools/list", "tools/call"]
        assert (await asked(member, url, {}, MARKED))[0].status_code == 400


async def test_an_error_whose_code_is_no_whole_number_reaches_its_client() -> None:
    async with inside() as member, served(member) as url:
        known: Any = member
        known._era_of = member.main.generation
        wire = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
        seen = len(member.wires[0].sent)
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            listing = client.post(f"{url}/inside/mcp", json=request(7, "tools/list", {"_meta": META}), headers=wire)
            pending = asyncio.get_running_loop().create_task(listing)
            sent = await next_of(member, seen)
            member.wires[0].say({"id": sent["id"], "error": {"code": 1.5, "message": "odd"}})
            answer = await pending
        assert (answer.status_code, answer.json()["id"], answer.json()["error"]["message"]) == (200, 7, "odd")


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
