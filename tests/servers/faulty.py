"""A raw MCP server with a switch per fault: it speaks all three HTTP wires rightly until `fault` says where to go wrong.

Raw asyncio on purpose: a real server cannot be made to send half an event or a wrong content type. `legacy` at `/sse`,
Streamable HTTP and stateless at `/mcp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from tests.servers.listening import listening

Json = dict[str, Any]
TOOL: Json = {
    "name": "echo",
    "description": "Say it again",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
STATUSES: dict[str, tuple[int, str, str]] = {
    "not_mounted": (404, "text/plain", "404 page not found"),
    "auth": (401, "text/plain", "Unauthorized\n"),
    "forbidden": (403, "text/plain", "no"),
    "host": (421, "text/plain", "Invalid Host header"),
    "origin": (403, "text/plain", "Invalid Origin header"),
    "redirect": (307, "text/plain", ""),
    "method": (405, "text/plain", "Method Not Allowed"),
    "broken": (500, "text/html", "<html><head><style>p{}</style></head><body>Internal <b>Server</b> Error</body></html>"),
    "bad_gateway": (502, "text/html", "<html>Bad Gateway</html>"),
    "busy": (503, "text/plain", "Too many open sessions"),
    "limited": (429, "text/plain", "slow down"),
    "too_large": (413, "text/plain", "Payload too large"),
    "member_down": (503, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"member time is down"}}'),
    "no_session": (404, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}'),
    "bad_session": (400, "application/json", '{"error":{"code":-32602,"message":"Invalid session ID"}}'),
    "era": (400, "application/json", '{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"Unsupported protocol version"}}'),
}
ERRORS: dict[str, Json] = {
    "rpc_error": {"code": -32603, "message": "kaboom"},
    "stale": {"code": -32603, "message": "transport error: request failed with status 404: Could not find session"},
    "terminated": {"code": -32603, "message": "transport error: session terminated (404). need to re-initialize"},
    "nameless_error": {"code": 0, "message": ""},
    "not_connected": {"code": -32603, "message": "Not connected"},
    "too_early": {"code": -32602, "message": "Received request before initialization was complete"},
    "crowded": {"code": -32000, "message": "Too many requests"},
    "odd_error": {"oops": True},
}
RESULTS: dict[str, Json] = {
    "empty_tools": {"tools": []},
    "tools_nil": {"tools": None},
    "tools_no_list": {"tools": "many"},
    "tools_null": {"tools": [None]},
    "tool_no_name": {"tools": [{"inputSchema": {"type": "object"}}]},
    "circle": {"tools": [TOOL], "nextCursor": "again"},
    "bad_cursor": {"tools": [TOOL], "nextCursor": 7},
    "bad_schema": {"tools": [{"name": "x", "inputSchema": {"type": "object", "properties": {"a": {"type": "strin"}}}}]},
    "no_schema": {"tools": [{"name": "x"}]},
    "bad_name": {"tools": [{"name": "x y", "inputSchema": {"type": "object"}}]},
    "twice": {"tools": [TOOL, TOOL]},
}
CALLS: dict[str, Json] = {
    "tool_error": {"content": [{"type": "text", "text": "no such city"}], "isError": True},
    "empty_error": {"content": [{"type": "text", "text": ""}], "isError": True},
    "proxy_error": {"content": [{"type": "text", "text": "Client failed to connect: all attempts failed"}], "isError": True},
    "db_error": {"content": [{"type": "text", "text": "psycopg: connection refused by 10.0.0.7"}], "isError": True},
}


@dataclass
class Request:
    """One HTTP request as received."""

    method: str
    path: str
    headers: dict[str, str]
    body: Json


@dataclass
class Faulty:
    """The server. `where` narrows a fault to one method (`tools/list`) or to `open` (the first request)."""

    fault: str = ""
    where: str = "open"
    token: str | None = None
    era: str = "legacy"
    port: int = 0
    more: Json = field(default_factory=dict[str, Any])
    """Capabilities beside tools."""
    requests: list[Request] = field(default_factory=list[Request])
    open_streams: int = 0
    answered: list[Json] = field(default_factory=list[Json])
    _streams: dict[str, asyncio.Queue[Json | None]] = field(default_factory=dict[str, "asyncio.Queue[Json | None]"])
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def url(self, path: str = "/sse", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def seen(self, method: str) -> list[Request]:
        """The requests whose HTTP or JSON-RPC method it is."""
        return [request for request in self.requests if method in (request.method, request.body.get("method"))]

    def hits(self, where: str) -> bool:
        return bool(self.fault) and self.where == where

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, UnicodeDecodeError):
            pass
        finally:
            self._writers.discard(writer)
            self.tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.hits("open") and self.fault == "cut":
            return False
        if self.hits("open") and self.fault == "not_http":
            writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            await writer.drain()
            return False
        request = await _read(reader)
        if request is None:
            return False
        self.requests.append(request)
        if self.hits("open") and self.fault == "silent":
            await reader.read()
            return False
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return await self._plain(writer, *STATUSES["auth"])
        if self.hits("open") and self.fault in STATUSES:
            return await self._plain(writer, *STATUSES[self.fault])
        if self.hits("open") and self.fault == "flood":
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(100)))
            await writer.drain()
            await reader.read()
            return False
        if request.method == "GET" and request.path.startswith("/sse"):
            await self._stream(reader, writer)
            return False
        if request.method == "POST" and request.path.startswith("/message"):
            return await self._message(request, writer)
        if request.method == "POST" and request.path.startswith("/mcp") and self.fault != "no_endpoint":
            return await self._streamable(request, reader, writer)
        if request.method == "DELETE":
            if self.fault == "delete_hangs":
                await reader.read()
                return False
            return await self._plain(writer, 200, "text/plain", "")
        if request.method == "GET" and request.path.startswith("/health"):
            return await self._plain(writer, 200, "text/plain", "all is well")
        return await self._plain(writer, 404, "text/plain", "404 page not found")

    async def _plain(self, writer: asyncio.StreamWriter, status: int, kind: str, text: str) -> bool:
        extra = f"Location: {self.url('/sse/')}\r\n" if 300 <= status < 400 else ""
        if self.fault == "leaky" and status == 400:
            extra += "Mcp-Session-Id: stray\r\n"
        body = text.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body)
        await writer.drain()
        return True

    # legacy SSE

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = "text/html" if self.fault == "html" else "text/event-stream; charset=utf-8"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
        if self.fault == "gzip":
            head += "Content-Encoding: gzip\r\n"
        if self.fault == "buffered":
            head += "Server: nginx/1.25\r\n"
        writer.write(head.encode() + b"\r\n")
        self.open_streams += 1
        key = f"k{len(self._streams)}"
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        self._streams[key] = queue
        closed = asyncio.create_task(reader.read())
        try:
            await self._announce(key, writer)
            while not closed.done():
                take = asyncio.create_task(queue.get())
                await asyncio.wait({take, closed}, return_when=asyncio.FIRST_COMPLETED)
                if not take.done():
                    take.cancel()
                    break
                message = take.result()
                if message is None:
                    break
                if self.fault == "idle_cut" and message.get("id") == 2:
                    asyncio.get_running_loop().call_later(0.05, writer.transport.abort)
                await self._event(writer, message)
        finally:
            self.open_streams -= 1
            closed.cancel()

    async def _announce(self, key: str, writer: asyncio.StreamWriter) -> None:
        data = f"/message?sessionId={key}"
        match self.fault:
            case "no_endpoint" | "buffered":
                if self.fault == "no_endpoint":
                    writer.write(b": ping\n\n: ping\n\n")
                await writer.drain()
                await asyncio.Event().wait()
            case "ends":
                self._streams[key].put_nowait(None)
                return
            case "foreign":
                data = f"http://0.0.0.0:3001{data}"
            case "absolute":
                data = self.url(data)
            case "prefix":
                data = f"/elsewhere{data}"
            case "nonsense":
                data = "http://[nowhere"
            case "chatter":
                writer.write(b"retry: 3000\nid: 7\n\n: hello\n\nevent: hello\ndata: world\n\n")
            case "bom":
                writer.write(b"\xef\xbb\xbf")
            case "endless":
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"x" * 1_000_000)
                        await writer.drain()
            case _:
                pass
        await self._write(writer, f"event: endpoint\ndata: {data}\n\n".encode())

    async def _event(self, writer: asyncio.StreamWriter, message: Json) -> None:
        text = json.dumps(message)
        if self.fault == "multiline":
            text = json.dumps(message, indent=1)
        lines = "".join(f"data: {line}\n" for line in text.split("\n"))
        block = f"event: message\n{lines}\n".encode()
        if self.fault == "notices":
            block = b": ping - now\n\nevent: message\ndata: " + _notice() + b"\n\n" + block
        if self.fault == "batch":
            block = b"event: message\ndata: [" + _notice() + b", " + json.dumps(message).encode() + b"]\n\n"
        if self.fault == "server_ping" and message.get("id") == 2:
            asks = {"jsonrpc": "2.0", "id": "s1", "method": "ping"}
            block = f"event: message\ndata: {json.dumps(asks)}\n\n".encode() + block
        if self.fault == "latin" and message.get("id") == 2:
            block = block.replace(b"Say it again", b"Say it \xff\xfe again")
        if self.hits("tools/list") and message.get("id") == 2:
            if self.fault == "bad_json":
                block = b"event: message\ndata: {nope\n\n"
            if self.fault == "no_rpc":
                block = b"event: message\ndata: 42\n\n"
            if self.fault == "cut":
                writer.write(block[: len(block) // 2])
                await writer.drain()
                writer.transport.abort()
                return
            if self.fault == "drip":
                await self._drip(writer, block)
                return
        await self._write(writer, block)

    async def _drip(self, writer: asyncio.StreamWriter, block: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in block * 1000:
                writer.write(bytes([byte & 0x7F]))
                await writer.drain()
                await asyncio.sleep(0.01)

    async def _write(self, writer: asyncio.StreamWriter, block: bytes) -> None:
        if self.fault == "crlf":
            block = block.replace(b"\n", b"\r\n")
        if self.fault == "split":
            for position in range(len(block)):
                writer.write(block[position : position + 1])
                await writer.drain()
                await asyncio.sleep(0)
            return
        writer.write(block)
        await writer.drain()

    async def _message(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        method = str(request.body.get("method", ""))
        if self.hits(method) and self.fault in STATUSES:
            return await self._plain(writer, *STATUSES[self.fault])
        if "method" not in request.body:
            self.answered.append(request.body)
        key = request.path.rpartition("=")[2]
        queue = self._streams.get(key)
        if queue is None:
            return await self._plain(writer, 404, "text/plain", "Could not find session")
        close = b"Connection: close\r\n" if self.fault == "closing" else b""
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n" + close + b"\r\nAccepted")
        await writer.drain()
        reply = None if self.hits(method) and self.fault == "no_reply" else self.reply(request.body)
        if reply is not None:
            queue.put_nowait(reply)
        return self.fault != "closing"

    # Streamable HTTP and stateless

    async def _streamable(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        method = str(request.body.get("method", ""))
        if self.hits(method) and self.fault in STATUSES:
            return await self._plain(writer, *STATUSES[self.fault])
        modern = request.headers.get("mcp-protocol-version") == "2026-07-28"
        if modern and self.era == "legacy":
            return await self._plain(writer, 400, "application/json", _error(None, -32600, "Bad Request: Missing session ID"))
        if "method" not in request.body:
            self.answered.append(request.body)
        if request.body.get("id") is None or "method" not in request.body:
            return await self._plain(writer, 202, "text/plain", "")
        if self.hits(method):
            if self.fault == "no_reply":
                await reader.read()
                return False
            if self.fault == "accepted":
                return await self._plain(writer, 202, "text/plain", "")
            if self.fault == "html":
                return await self._plain(writer, 200, "text/html", "<html>please log in</html>")
            if self.fault == "bad_json":
                return await self._plain(writer, 200, "application/json", "{nope")
            if self.fault == "deep":
                return await self._plain(writer, 200, "application/json", "[" * 100_000)
            if self.fault == "wrong_id":
                return await self._plain(writer, 200, "application/json", json.dumps({"jsonrpc": "2.0", "id": 99, "result": {}}))
            if self.fault == "latin":
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"\xff\xfe"')
                await writer.drain()
                return True
            if self.fault == "drip":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
                await self._drip(writer, b" ")
                return False
            if self.fault == "endless":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b" " * 1_000_000)
                        await writer.drain()
            if self.fault == "cut":
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"json')
                await writer.drain()
                writer.transport.abort()
                return False
            if self.fault == "false_gzip":
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
                )
                await writer.drain()
                return True
            if self.fault == "stream_without_answer":
                return await self._sse_reply(writer, [{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}])
        reply = self.reply(request.body)
        assert reply is not None
        if self.fault == "as_stream":
            return await self._sse_reply(writer, [json.loads(_notice()), reply])
        if self.fault == "server_ping":
            return await self._sse_reply(writer, [{"jsonrpc": "2.0", "id": "s1", "method": "ping"}, reply])
        return await self._json_reply(writer, reply)

    async def _json_reply(self, writer: asyncio.StreamWriter, reply: Json) -> bool:
        body = json.dumps([reply] if self.fault == "batch" else reply).encode()
        extra = "Mcp-Session-Id: s-42\r\n" if self.era == "legacy" else ""
        if self.fault == "gzip":
            body = gzip.compress(body)
            extra += "Content-Encoding: gzip\r\n"
        if self.fault == "chunked":
            pieces = [body[start : start + 3] for start in range(0, len(body), 3)]
            framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{extra}Transfer-Encoding: chunked\r\n\r\n".encode())
            writer.write(framed)
        elif self.fault == "until_close":
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{extra}\r\n".encode() + body)
            await writer.drain()
            return False
        else:
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body
            )
        await writer.drain()
        return True

    async def _sse_reply(self, writer: asyncio.StreamWriter, messages: list[Json]) -> bool:
        extra = "Mcp-Session-Id: s-42\r\n" if self.era == "legacy" else ""
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{extra}Transfer-Encoding: chunked\r\n\r\n".encode())
        for message in messages:
            block = f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(block), block))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    # what it says

    def reply(self, message: Json) -> Json | None:
        """The JSON-RPC answer to a message, `None` for a notification."""
        number, method = message.get("id"), message.get("method", "")
        if number is None or "method" not in message:
            return None
        if self.hits(method) and self.fault in ERRORS:
            return {"jsonrpc": "2.0", "id": number, "error": ERRORS[self.fault]}
        if self.hits(method) and self.fault == "unread":
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}
        body: Json = {"jsonrpc": "2.0", "id": number, "result": self.result(method, message.get("params") or {})}
        if self.era == "modern":
            body["result"] |= {"resultType": "input_required" if self.hits(method) and self.fault == "wants" else "complete"}
        return body

    def result(self, method: str, params: Json) -> Json:
        match method:
            case "initialize":
                result: Json = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}, **self.more},
                    "serverInfo": {"name": "faulty", "version": "1"},
                }
                if self.hits(method) and self.fault == "no_version":
                    del result["protocolVersion"]
                if self.hits(method) and self.fault == "odd_version":
                    result["protocolVersion"] = "1999-01-01"
                if self.hits(method) and self.fault == "no_capabilities":
                    del result["capabilities"]
                return result
            case "server/discover":
                old = self.hits(method) and self.fault == "old_version"
                return {
                    "supportedVersions": ["2027-01-01" if old else "2026-07-28"],
                    "capabilities": {"tools": {}},
                    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "faulty", "version": "1"}},
                }
            case "tools/list":
                if self.hits(method) and self.fault in RESULTS:
                    return RESULTS[self.fault]
                if self.fault == "pages":
                    page = int(params.get("cursor", "0"))
                    tool = {**TOOL, "name": f"echo{page}"}
                    return {"tools": [tool], **({"nextCursor": str(page + 1)} if page < 4 else {})}
                if self.fault == "big":
                    return {"tools": [{**TOOL, "name": f"echo{n}", "description": "x" * 100_000} for n in range(100)]}
                return {"tools": [TOOL]}
            case "prompts/list":
                return {"prompts": [{"name": "greet"}]}
            case "tools/call":
                if self.hits(method) and self.fault in CALLS:
                    return CALLS[self.fault]
                arguments: Json = params.get("arguments") or {}
                given = arguments.get("text")
                if given is None:
                    return {"content": [{"type": "text", "text": "validation error: text is required"}], "isError": True}
                return {"content": [{"type": "text", "text": str(given)}]}
            case _:
                return {}


@contextlib.asynccontextmanager
async def faulty(
    fault: str = "", where: str = "open", *, token: str | None = None, era: str = "legacy", tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Faulty]:
    """A faulty server on a free port, for the length of a block; it leaves no task and no socket."""
    server = Faulty(fault, where, token, era)
    async with listening(server, tls):
        yield server


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readline()
    if not head.strip():
        return None
    method, path, _ = head.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, json.loads(body) if body else {})


def _notice() -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}}).encode()


def _error(number: object, code: int, message: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}})
