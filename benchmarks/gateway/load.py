"""The load generator: raw asyncio clients of both wires, cheap enough not to be what is measured."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
CALL = '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status = int((await reader.readline()).split()[1])
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return status, headers


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    parts: list[bytes] = []
    if headers.get("transfer-encoding") == "chunked":
        while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
    return b"".join(parts)


@dataclass
class Wire:
    """One session of one client."""

    url: str
    kind: str

    async def open(self) -> None:
        parts = urlsplit(self.url)
        self.host, self.port, self.path = parts.hostname, parts.port, parts.path
        self.session = ""
        self.number = 0
        if self.kind == "sse":
            self.stream, out = await asyncio.open_connection(self.host, self.port, limit=2**20)
            self.streams = out
            out.write(f"GET {self.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode())
            status, _ = await read_head(self.stream)
            assert status == 200, status
            endpoint = await self.event()
            self.target = urlsplit(urljoin(self.url, endpoint.decode()))
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        await self.ask(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}))
        await self.post('{"jsonrpc":"2.0","method":"notifications/initialized"}')

    async def event(self) -> bytes:
        while not (line := await self.stream.readline()).startswith(b"data:"):
            if not line:
                raise EOFError
        return line[5:].strip()

    async def post(self, body: str) -> bytes:
        path = f"{self.target.path}?{self.target.query}" if self.kind == "sse" else self.path
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
        head += "Accept: application/json, text/event-stream\r\n" + (f"Mcp-Session-Id: {self.session}\r\n" if self.session else "")
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        status, headers = await read_head(self.reader)
        assert status < 300, status
        self.session = headers.get("mcp-session-id", self.session)
        return await read_body(self.reader, headers)

    async def ask(self, body: str) -> None:
        answer = await self.post(body)
        if self.kind == "sse":
            answer = await self.event()
        assert b'"result"' in answer, answer[:300]

    async def call(self) -> None:
        self.number += 1
        await self.ask(CALL % self.number)

    def cut(self) -> None:
        """Close with a RST: what was unread is gone, and the other side hears it as an error."""
        for writer in (self.writer, self.streams) if self.kind == "sse" else (self.writer,):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.writer.transport.abort()
        if self.kind == "sse":
            self.streams.transport.abort()


async def latency(url: str, kind: str, calls: int) -> list[float]:
    """Seconds of each of `calls` calls, one after the other in one session."""
    wire = Wire(url, kind)
    await wire.open()
    times: list[float] = []
    for _ in range(calls):
        begun = time.perf_counter()
        await wire.call()
        times.append(time.perf_counter() - begun)
    wire.close()
    return times


async def throughput(url: str, kind: str, sessions: int, calls: int) -> float:
    """Calls per second of `sessions` sessions at once."""
    wires = [Wire(url, kind) for _ in range(sessions)]
    await asyncio.gather(*(wire.open() for wire in wires))

    async def run(wire: Wire) -> None:
        for _ in range(calls // sessions):
            await wire.call()

    begun = time.perf_counter()
    await asyncio.gather(*(run(wire) for wire in wires))
    rate = sessions * (calls // sessions) / (time.perf_counter() - begun)
    for wire in wires:
        wire.close()
    return rate


async def handshakes(url: str, kind: str, clients: int, total: int) -> float:
    """Handshakes (open, initialize, tools/list, close) per second by `clients` at once."""

    async def run() -> None:
        for _ in range(total // clients):
            wire = Wire(url, kind)
            await wire.open()
            await wire.ask('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}')
            wire.close()

    begun = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(clients)))
    return clients * (total // clients) / (time.perf_counter() - begun)


async def first_answer(url: str, kind: str, limit: float) -> float:
    """Seconds until a handshake and a call succeed."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < limit:
        wire = Wire(url, kind)
        try:
            await wire.open()
            await wire.call()
        except (OSError, AssertionError, EOFError, IndexError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.005)
            continue
        finally:
            if hasattr(wire, "writer"):
                wire.close()
        return time.perf_counter() - begun
    return float("nan")


async def cuts(url: str, kind: str, count: int) -> None:
    """Open sessions, one after the other, and cut each with a RST instead of closing it."""
    for _ in range(count):
        wire = Wire(url, kind)
        await wire.open()
        wire.cut()
