"""An MCP server that says exactly the texts it is given, over Streamable HTTP (`/mcp`) and legacy SSE (`/sse`).

`says` maps a method to the text of its answer; `{id}` in it becomes the id of the request. What is asked of nothing in `says` is
taken with 202. `raw` maps an HTTP method, or a JSON-RPC method, to the bytes of a whole response; where they are empty, the
request is never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, cast

from tests.servers.listening import listening

HELLO = (
    '{"jsonrpc":"2.0","id":{id},"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},'
    '"serverInfo":{"name":"scripted","version":"1"}}}'
)
LISTED = '{"jsonrpc":"2.0","id":{id},"result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}}'
NO_METHOD = '{"jsonrpc":"2.0","id":{id},"error":{"code":-32601,"message":"Method not found"}}'
GOOD = {"server/discover": NO_METHOD, "initialize": HELLO, "tools/list": LISTED}


@dataclass
class Scripted:
    """The server."""

    says: dict[str, str]
    raw: dict[str, bytes] = field(default_factory=dict[str, bytes])
    event: str = "message"
    content_type: str = "text/event-stream"
    endpoint: str = "/message"
    headers: str = ""
    """More header lines of every answer to a POST, each ended by CRLF."""
    ends: bool = False
    """Whether the stream of SSE ends right after its endpoint event."""
    answers_everywhere: bool = False
    """Whether any path is that of Streamable HTTP."""
    port: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """HTTP method with path, and JSON-RPC method, of every request."""
    _streams: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self.tasks.add(task)
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        verb, path, _ = head.split(" ", 2)
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0)
        asked: dict[str, Any] = json.loads(await reader.readexactly(length)) if length else {}
        method = str(asked.get("method", ""))
        self.seen.append((f"{verb} {path}", method))
        for key in (method, f"{verb} {path.partition('?')[0]}", verb):
            if key and key in self.raw:
                writer.write(self.raw[key])
                if not self.raw[key]:
                    await reader.read()
                return bool(self.raw[key])
        if verb == "GET":
            return await self._stream(reader, writer)
        text = self.says.get(method, "").replace("{id}", json.dumps(asked.get("id")))
        if path.startswith("/mcp") or self.answers_everywhere:
            return self._answer(writer, text)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        if text and self._streams:
            self._streams[-1].write(self._event(text))
        return True

    def _answer(self, writer: asyncio.StreamWriter, text: str) -> bool:
        if not text:
            writer.write(f"HTTP/1.1 202 Accepted\r\n{self.headers}Content-Length: 0\r\n\r\n".encode())
            return True
        plain = self.event == "message" and self.content_type == "text/event-stream"
        body, kind = (text.encode(), "application/json") if plain else (self._event(text), self.content_type)
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{self.headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        return True

    def _event(self, text: str) -> bytes:
        return f"event: {self.event}\ndata: {text}\n\n".encode()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\n\r\n".encode())
        writer.write(f"event: endpoint\ndata: {self.endpoint}\n\n".encode())
        await writer.drain()
        if not self.ends:
            self._streams.append(writer)
            await reader.read()
        return False


@contextlib.asynccontextmanager
async def scripted(server: Scripted, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Scripted]:
    """A scripted server on a free port, for the length of a block."""
    async with listening(server, tls):
        yield server
