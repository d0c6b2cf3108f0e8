"""The mock servers answer from: legacy SSE, Streamable HTTP and stateless on one port, as cheaply as asyncio allows.

`python -m benchmarks.prober.mock [FILE]` prints its port and serves until its stdin closes. It keeps no state but the open streams,
and with FILE when each stream was asked for, which it writes at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, cast

import uvloop

TOOLS = [
    {"name": f"tool_{n}", "description": "x" * 200, "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    for n in range(10)
]
INITIALIZE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "mock", "version": "1"},
}
DISCOVER: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
ANSWERS = {
    "initialize": json.dumps(INITIALIZE).encode(),
    "server/discover": json.dumps(DISCOVER).encode(),
    "tools/list": json.dumps({"tools": TOOLS, "resultType": "complete"}).encode(),
}
STREAMS: dict[bytes, asyncio.Transport] = {}
ASKED: list[tuple[str, float]] | None = [] if len(sys.argv) > 1 else None
"""The path of each stream that was asked for, and when."""


class Mock(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._key = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        STREAMS.pop(self._key, None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = 0
            lower = head.lower()
            at = lower.find(b"content-length:")
            if at >= 0:
                length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            if ASKED is not None:
                ASKED.append((path.decode(), time.time()))
            self._key = b"%d-%d" % (os.getpid(), id(self))
            STREAMS[self._key] = self._transport
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\ndata: /message?s="
                + self._key
                + b"\n\n"
            )
            return
        if method == b"DELETE":
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        ask = json.loads(body)
        number = ask.get("id")
        reply = None
        if number is not None:
            reply = b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(number).encode(), ANSWERS.get(ask["method"], b"{}"))
        if path.startswith(b"/message"):
            self._transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            stream = STREAMS.get(path.partition(b"=")[2])
            if reply and stream is not None:
                stream.write(b"event: message\ndata: " + reply + b"\n\n")
            return
        if reply is None:
            self._transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\nContent-Length: %d\r\n\r\n" % len(reply)
            + reply
        )


async def main() -> None:
    """Serve until killed or until stdin closes."""
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0, backlog=4096, family=socket.AF_INET)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()
    if ASKED is not None:
        Path(sys.argv[1]).write_text(json.dumps(ASKED), encoding="utf-8")


if __name__ == "__main__":
    uvloop.run(main())
