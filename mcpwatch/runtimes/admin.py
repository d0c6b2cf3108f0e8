"""The gateway's admin socket: HTTP over a unix socket, requests and the stream of events. Knows the wire, not what it means.

A few lines on asyncio streams instead of an HTTP library: one host, no redirects, no cookies, no pool.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mcpwatch.model.errors import RuntimeFailed

TIMEOUT = 5.0
"""Seconds for one whole request."""
BODY_LIMIT = 16 << 20
LINE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `body` is parsed JSON, or text when it is not JSON."""

    status: int
    body: Any


class AdminClient(Protocol):
    """The way to one gateway."""

    async def request(self, method: str, path: str) -> Reply:
        """One request. Raises `RuntimeFailed` when nobody answers in time."""
        ...

    def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Its events, `(name, data)` each, until it hangs up. Raises `OSError`, `TimeoutError` or `EOFError` then."""
        ...


class AdminSocket:
    """The way to the gateway that listens on this socket, whether one does or not."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def request(self, method: str, path: str) -> Reply:
        """As `AdminClient.request`."""
        return await request(self._socket, method, path)

    def events(self) -> AsyncIterator[tuple[str, Any]]:
        """As `AdminClient.events`."""
        return events(self._socket)


async def request(socket: Path, method: str, path: str) -> Reply:
    """One request. Raises `RuntimeFailed` when nobody answers in time."""
    try:
        async with asyncio.timeout(TIMEOUT), _open(socket, method, path) as (status, headers, reader):
            if "chunked" in headers.get("transfer-encoding", ""):
                data = b"".join([piece async for piece in _chunks(reader)])
            elif "content-length" in headers:
                data = await reader.readexactly(min(int(headers["content-length"]), BODY_LIMIT))
            else:
                data = await reader.read(BODY_LIMIT)
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        raise RuntimeFailed(f"gateway: no answer on {socket}: {type(error).__name__}: {error}") from error
    try:
        return Reply(status, json.loads(data))
    except ValueError:
        return Reply(status, data.decode(errors="replace"))


async def events(socket: Path) -> AsyncIterator[tuple[str, Any]]:
    """The gateway's events, `(name, data)` each, until it hangs up. Raises `OSError`, `TimeoutError` or `EOFError` then."""
    async with _open(socket, "GET", "/events", bound=TIMEOUT) as (status, headers, reader):
        if status != 200:
            raise EOFError(f"status {status}")
        name, data = "message", ""
        async for line in _lines(reader, chunked="chunked" in headers.get("transfer-encoding", "")):
            if not line:
                if data:
                    yield name, json.loads(data)
                name, data = "message", ""
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
        raise EOFError("the gateway hung up")


@asynccontextmanager
async def _open(
    socket: Path, method: str, path: str, bound: float | None = None
) -> AsyncGenerator[tuple[int, dict[str, str], asyncio.StreamReader]]:
    async with asyncio.timeout(bound):
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=LINE_LIMIT)
    try:
        async with asyncio.timeout(bound):
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode("ascii"))
            await writer.drain()
            status = int((await reader.readline()).split(None, 2)[1:2][0] if not reader.at_eof() else b"0")
            headers: dict[str, str] = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip().lower()
        yield status, headers, reader
    except IndexError:
        raise EOFError("the gateway hung up") from None
    finally:
        writer.close()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        if size > BODY_LIMIT:
            raise EOFError("chunk too large")
        yield await reader.readexactly(size)
        await reader.readline()


async def _lines(reader: asyncio.StreamReader, *, chunked: bool) -> AsyncIterator[str]:
    if not chunked:
        while line := await reader.readline():
            yield line.decode(errors="replace").rstrip("\r\n")
        return
    rest = b""
    async for piece in _chunks(reader):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
        if len(rest) > BODY_LIMIT:
            raise EOFError("line too long")
