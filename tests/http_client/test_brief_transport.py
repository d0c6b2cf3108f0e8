"""The transport of a probe is to a protocol what asyncio's own is: the same scenes are played over both."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpwatch.http_client.brief_transport import BriefTransport
from mcpwatch.http_client.connection import READ

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
PATIENCE = 20.0
MUCH = 8 << 20
"""Bytes that no socket takes at once."""


class Heard(asyncio.Protocol):
    """Everything that a transport told."""

    def __init__(self) -> None:
        self.data = b""
        self.pieces: list[int] = []
        self.ends: list[Exception | None] = []
        self.ended = asyncio.Event()
        self.more = asyncio.Event()
        self.fails = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        if self.fails:
            raise ValueError("the protocol fails")
        self.data += data
        self.pieces.append(len(data))
        self.more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)
        self.ended.set()

    async def until(self, size: int) -> None:
        while len(self.data) < size:
            self.more.clear()
            await within(self.more.wait())


async def within(work: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await work


@asynccontextmanager
async def connected(kind: str) -> AsyncGenerator[tuple[Heard, asyncio.StreamReader, asyncio.StreamWriter, socket.socket]]:
    """A protocol over a transport, and the other end of its connection."""
    loop = asyncio.get_running_loop()
    peers: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait((reader, writer))

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    sock = socket.create_connection(server.sockets[0].getsockname())
    sock.setblocking(False)
    heard = Heard()
    if kind == "brief":
        BriefTransport(loop, sock, heard)
    else:
        await loop.create_connection(lambda: heard, sock=sock)
    reader, writer = await within(peers.get())
    try:
        yield heard, reader, writer, sock
    finally:
        if not heard.ends:
            heard.transport.abort()
        writer.transport.abort()
        server.close()
        await within(heard.ended.wait())


both = pytest.mark.parametrize("kind", ["asyncio", "brief"])


@both
async def test_more_than_the_socket_takes_is_sent_in_its_order_and_so_is_what_follows(kind: str) -> None:
    async with connected(kind) as (heard, reader, _, _sock):
        first, second = b"a" * MUCH, b"b" * 1000
        heard.transport.write(first)
        waiting = heard.transport.get_write_buffer_size()
        assert 0 < waiting <= MUCH
        heard.transport.write(second)
        assert heard.transport.get_write_buffer_size() == waiting + len(second)
        assert await within(reader.readexactly(MUCH + 1000)) == first + second
        assert heard.transport.get_write_buffer_size() == 0
        heard.transport.write(b"at once")
        assert await within(reader.readexactly(7)) == b"at once"
        assert heard.transport.get_write_buffer_size() == 0


@both
async def test_a_close_sends_what_waits_and_an_abort_does_not(kind: str) -> None:
    async with connected(kind) as (heard, reader, _, sock):
        heard.transport.write(b"a" * MUCH)
        heard.transport.close()
        assert heard.transport.is_closing()
        assert not heard.transport.is_reading()
        assert len(await within(reader.read(-1))) == MUCH
        await within(heard.ended.wait())
        assert heard.ends == [None]
        assert sock.fileno() == -1
    async with connected(kind) as (heard, reader, _, sock):
        heard.transport.write(b"a" * MUCH)
        heard.transport.abort()
        heard.transport.abort()
        assert heard.ends == [], "it is told when whoever aborts has let go"
        await within(heard.ended.wait())
        heard.transport.write(b"more")
        assert (heard.ends, sock.fileno()) == ([None], -1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await within(reader.readexactly(MUCH))


@both
async def test_the_end_and_the_reset_of_a_peer_are_told_for_what_they_are(kind: str) -> None:
    async with connected(kind) as (heard, _, writer, _sock):
        writer.write(b"last words")
        writer.close()
        await within(heard.ended.wait())
        assert (heard.data, heard.ends) == (b"last words", [None])
    async with connected(kind) as (heard, _, writer, _sock):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await within(heard.ended.wait())
        assert [type(end) for end in heard.ends] == [ConnectionResetError]


@both
async def test_a_write_to_a_connection_that_was_reset_ends_it_and_says_why(kind: str) -> None:
    async with connected(kind) as (heard, _, writer, _sock):
        heard.transport.pause_reading()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        while not heard.ends:
            heard.transport.write(b"a" * 1000)
            await asyncio.sleep(0)
        assert isinstance(heard.ends[0], ConnectionError)
        assert len(heard.ends) == 1


@both
async def test_nothing_is_told_while_reading_is_paused_and_all_of_it_afterwards(kind: str) -> None:
    async with connected(kind) as (heard, _, writer, sock):
        heard.transport.pause_reading()
        heard.transport.pause_reading()
        writer.write(b"a" * 100)
        await within(writer.drain())
        for _turn in range(100):
            await asyncio.sleep(0)
        assert heard.data == b""
        assert not heard.transport.is_reading()
        heard.transport.resume_reading()
        heard.transport.resume_reading()
        await heard.until(100)
        assert heard.transport.is_reading()
        heard.transport.pause_reading()
        writer.close()
        heard.transport.close()
        await within(heard.ended.wait())
        heard.transport.resume_reading()
        assert (heard.ends, sock.fileno()) == ([None], -1)


@both
async def test_no_piece_is_larger_than_what_is_read_at_once_and_none_changes_afterwards(kind: str) -> None:
    async with connected(kind) as (heard, _, writer, _sock):
        text = bytes(range(256)) * (MUCH // 256)
        writer.write(text)
        await heard.until(MUCH)
        assert heard.data == text
        assert max(heard.pieces) <= READ


@both
async def test_a_protocol_that_fails_is_told_to_the_loop_and_ends_the_connection(kind: str) -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with connected(kind) as (heard, _, writer, _sock):
            heard.fails = True
            writer.write(b"hello")
            await within(heard.ended.wait())
            assert [type(end) for end in heard.ends] == [ValueError]
            assert heard.data == b""
    finally:
        loop.set_exception_handler(None)
    assert [(type(one["exception"]), one["message"]) for one in told] == [
        (ValueError, "Fatal error: protocol.data_received() call failed.")
    ]


@both
async def test_another_protocol_hears_what_comes_once_it_is_set(kind: str) -> None:
    async with connected(kind) as (heard, _, writer, _sock):
        other = Heard()
        assert heard.transport.get_protocol() is heard
        heard.transport.set_protocol(other)
        assert heard.transport.get_protocol() is other
        writer.write(b"for the other")
        await other.until(13)
        heard.transport.set_protocol(heard)
        assert heard.data == b""


async def test_a_connection_that_is_over_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        async with connected("brief") as (heard, _, _, sock):
            transport = weakref.ref(heard.transport)
        del heard
        await asyncio.sleep(0)
        assert transport() is None
        assert sock.fileno() == -1
    finally:
        gc.enable()
