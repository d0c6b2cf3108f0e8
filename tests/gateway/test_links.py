"""Links to upstreams by URL, on an upstream that answers what a test says and keeps every byte it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcpwatch.gateway import http
from mcpwatch.gateway.enveloped import StatelessLink
from mcpwatch.gateway.events import HttpFailed
from mcpwatch.gateway.link import Ends
from mcpwatch.gateway.message import Envelope

pytestmark = pytest.mark.anyio
LIMIT = 30.0
Script = Callable[[bytes, bytes], Awaitable[bytes | None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(body: bytes, media: str = "application/json", *lines: str) -> bytes:
    return (
        "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {media}", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body
    )


@dataclass
class Upstream:
    """`script` gets a head and a body and says what to send; `None` leaves the client without an answer."""

    script: Script
    port: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """A client has closed its connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                sent = await self.script(head, await reader.readexactly(int(length or b"0")))
                if sent is not None:
                    writer.write(sent)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def upstream(script: Script) -> AsyncGenerator[Upstream]:
    running = Upstream(script)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()


class Came:
    """Where a link puts what comes."""

    def __init__(self, *, batched: bool = False) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.lost: list[str] = []
        self.ends = Ends(self._take, lambda reason, *_: self.lost.append(reason), lambda: None, lambda: batched)

    def _take(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        self.messages.put_nowait(json.loads(data))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT):
            return await self.messages.get()


def asking(method: str, number: int = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {}}).encode()


async def echo(head: bytes, body: bytes) -> bytes:
    return answer(json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": {}}).encode())


@pytest.mark.parametrize("method", ["x\r\nX-Evil: 1\r\n\r\nGET /admin HTTP/1.1", "x\n", "x\0", "", "x y", "é"])
async def test_a_method_that_is_no_header_value_never_reaches_a_stateless_upstream(method: str) -> None:
    async with upstream(echo) as server:
        came = Came()
        link = StatelessLink(server.url, (("Authorization", "secret"),), came.ends)
        link.send(asking(method), 1)
        assert (await came.next())["error"]["code"] == -32601
        link.send(asking("x-own/.$name_2", 2), 2)
        assert await came.next() == {"jsonrpc": "2.0", "id": 2, "result": {}}
        await link.close()
        assert [b"Mcp-Method: x-own/.$name_2\r\n" in head for head in server.heads] == [True]
        assert not came.lost


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
async def test_no_part_of_a_head_may_begin_another_line(mark: str) -> None:
    async with upstream(echo) as server:
        client = http.Client(server.url)
        for method, headers in ((f"GET{mark}", {}), ("GET", {f"X{mark}": "1"}), ("GET", {"X": f"1{mark}"})):
            with pytest.raises(HttpFailed, match="line break"):
                await client.request(method, server.url, headers)
        with pytest.raises(HttpFailed, match="line break"):
            await http.Client(server.url, (("X", f"1{mark}"),)).request("GET", server.url, {})
        assert not server.connections
