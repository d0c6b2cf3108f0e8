"""A stream that ends before its answer is taken up (SEP-1699): by the gateway at its upstream, and by a client at the gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream import streamable_link
from mcpwatch.gateway.upstream.member import ServedMember
from tests.gateway.inside import LIMIT, served
from tests.gateway.program import ACCEPT, HELLO, call, request
from tests.gateway.test_links import Upstream, answer, upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Polled:
    """A server that primes the stream of each call, ends it, and answers by GET: `parts` are the streams of its GETs."""

    def __init__(self, *parts: str, status: int = 200) -> None:
        self.parts = list(parts)
        self.status = status
        self.resumed: list[str] = []
        self.number = 0

    async def script(self, head: bytes, body: bytes) -> bytes | None:
        if head.startswith(b"GET") and b"last-event-id" not in head.lower():
            return b"HTTP/1.1 405 Not Allowed\r\nContent-Length: 0\r\n\r\n"
        if head.startswith(b"GET"):
            self.resumed.append(head.lower().partition(b"last-event-id: ")[2].partition(b"\r")[0].decode())
            if self.status != 200:
                return b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.status
            part = self.parts.pop(0) if self.parts else ""
            return answer(part.replace("NUMBER", str(self.number)).encode(), "text/event-stream")
        sent: dict[str, Any] = json.loads(body) if body else {}
        if sent.get("method") == "tools/call":
            self.number = sent["id"]
            return answer(b"id: one\nretry: 10\ndata: \n\n", "text/event-stream")
        if "id" in sent:
            said: dict[str, Any] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "polled"},
            }
            return answer(
                json.dumps({"jsonrpc": "2.0", "id": sent["id"], "result": said}).encode(), "application/json", "Mcp-Session-Id: s"
            )
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


DONE = 'id: last\ndata: {"jsonrpc":"2.0","id":NUMBER,"result":{"content":[]}}\n\n'
LOGGED = 'id: two\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'


@asynccontextmanager
async def behind(server: Polled) -> AsyncGenerator[tuple[str, Upstream]]:
    """That server behind a gateway in this process; the endpoint of its route."""
    async with upstream(server.script) as running:
        member = ServedMember(ServerSettings("it", url=running.url, transport="http"), ServingLimits(), None, lambda _: None)
        async with served(member) as url:
            yield f"{url}/it/mcp", running


class Caller:
    """A client in a session of some version that counts its GETs."""

    def __init__(self, http: httpx.AsyncClient, url: str, version: str) -> None:
        self.http, self.url = http, url
        self.headers = ACCEPT | {"mcp-protocol-version": version}

    async def hello(self) -> None:
        params = HELLO | {"protocolVersion": self.headers["mcp-protocol-version"]}
        answer = await self.http.post(self.url, json=request(0, "initialize", params), headers=ACCEPT)
        self.headers["mcp-session-id"] = answer.headers["mcp-session-id"]

    async def call(self) -> tuple[list[dict[str, Any]], list[str], str]:
        """Messages, `retry` values and the last id on the stream of one call."""
        return read(await self.http.post(self.url, json=call(7, "slow"), headers=self.headers))

    async def resume(self, last: str) -> tuple[list[dict[str, Any]], list[str], str]:
        return read(await self.http.get(self.url, headers=self.headers | {"last-event-id": last}))


def read(answer: httpx.Response) -> tuple[list[dict[str, Any]], list[str], str]:
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        return [answer.json()], [], ""
    fields = [line.partition(": ")[::2] for line in answer.text.splitlines() if line and not line.startswith(":")]
    said = [json.loads(value) for name, value in fields if name == "data" and value]
    ids = [value for name, value in fields if name == "id"]
    return said, [value for name, value in fields if name == "retry"], ids[-1] if ids else ""


@asynccontextmanager
async def calling(server: Polled, version: str) -> AsyncGenerator[Caller]:
    with anyio.fail_after(LIMIT):
        async with behind(server) as (url, _), httpx.AsyncClient(timeout=LIMIT) as http:
            caller = Caller(http, url, version)
            await caller.hello()
            yield caller


async def test_the_gateway_takes_up_what_its_upstream_ended_for_a_client_that_cannot() -> None:
    server = Polled("", LOGGED, DONE)
    async with calling(server, "2025-06-18") as caller:
        said, retries, _ = await caller.call()
        assert [message.get("id", message.get("method")) for message in said] == ["notifications/message", 7]
        assert retries == []
        assert server.resumed == ["one", "one", "two"]


async def test_a_client_that_can_is_told_to_come_back_and_gets_the_answer_then() -> None:
    server = Polled("", DONE)
    async with calling(server, "2025-11-25") as caller:
        said, retries, last = await caller.call()
        assert (said, retries) == ([], ["10"])
        found: list[dict[str, Any]] = []
        while not found:
            found, _, last = await caller.resume(last)
        assert found == [{"jsonrpc": "2.0", "id": 7, "result": {"content": []}}]


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (Polled(status=405), "does not take it up again (GET answered 405)"),
        (Polled(), "no answer came when it was taken up"),
    ],
)
async def test_a_stream_that_cannot_be_taken_up_is_told_as_the_reason(server: Polled, reason: str) -> None:
    async with calling(server, "2025-06-18") as caller:
        (said,), _, _ = await caller.call()
        assert reason in said["error"]["message"]


async def test_a_cancelled_request_is_not_polled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable_link, "POLLS", 10**9)
    server = Polled()
    async with calling(server, "2025-11-25") as caller:
        await caller.call()
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await caller.http.post(caller.url, json=cancelled, headers=caller.headers)).status_code == 202
        seen = -1
        while seen != len(server.resumed):
            seen = len(server.resumed)
            await anyio.sleep(0.2)
