"""Clients that read slowly, read nothing, or send no more: who is answered and who is cut. The listener's clock is the test's."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio.lowlevel
import pytest

from mcpwatch.gateway.http import limits, output
from mcpwatch.gateway.http.listener import Listener
from mcpwatch.http_client import keepalive
from tests.gateway.raw import LIMIT, Client, Mirror, get, listening, post
from tests.gateway.wireless import FakeTransport

pytestmark = pytest.mark.anyio

BIG = 8_000_000


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Slow(FakeTransport):
    """A client that takes what it is let take."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting


def looks(taken: list[int]) -> list[str]:
    """What the listener sees of a client that was sent `BIG` bytes and takes these amounts, `STALL_LIMIT - 1` s apart."""
    transport = Slow()
    out = output.Output(asyncio.new_event_loop())
    out.transport = transport  # pyright: ignore[reportAttributeAccessIssue]
    out.written += BIG
    transport.write(b"x" * BIG)
    seen: list[str] = []
    now = 1000.0
    for amount in taken:
        transport.waiting -= amount
        seen.append(out.look(now))
        now += limits.STALL_LIMIT - 1
    return seen


def test_a_reader_that_takes_anything_is_never_cut_however_long_it_takes() -> None:
    assert looks([1] * 1000) == ["behind"] * 1000


def test_a_reader_that_takes_nothing_is_cut_and_one_that_has_all_is_idle() -> None:
    assert looks([0, 0, 0]) == ["behind", "behind", "stalled"]
    assert looks([5, 5, 0, 0]) == ["behind", "behind", "behind", "stalled"]
    assert looks([BIG, 0, 0, 0]) == ["idle"] * 4


async def until_left(listener: Listener, count: int) -> None:
    """Return when so many connections are open."""
    async with asyncio.timeout(LIMIT):
        while len(listener.shared.connections) != count:
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def reading(app: Mirror, *headers: str) -> AsyncGenerator[tuple[Listener, socket.socket]]:
    """A client with a small window that has asked for an answer of `BIG` bytes."""
    async with listening(app) as (listener, connect):
        first = await connect()
        port = first.writer.get_extra_info("peername")[1]
        first.writer.transport.abort()
        await until_left(listener, 0)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, post("/p", b"x" * BIG, *headers))
            yield listener, client


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
async def test_a_slow_steady_reader_gets_a_long_answer_whole_however_often_it_is_looked_at(headers: tuple[str, ...]) -> None:
    async with reading(Mirror(body_limit=BIG), *headers) as (listener, client):
        loop = asyncio.get_running_loop()
        now, got = loop.time(), 0
        async with asyncio.timeout(LIMIT):
            while got < BIG:
                got += len(await loop.sock_recv(client, 200_000))
                now += limits.STALL_LIMIT - 1  # a minute between two reads: hours for the whole answer
                for connection in list(listener.shared.connections):
                    connection.expire(now)


@pytest.mark.slow
async def test_a_steady_reader_with_a_tiny_window_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_LIMIT", 3.0)
    monkeypatch.setattr(keepalive, "GONE", 3, raising=False)  # the bound of the kernel that once cut such a reader
    app, size = Mirror(body_limit=BIG), 50_000
    async with listening(app) as (_, connect):
        port = (await connect()).writer.get_extra_info("peername")[1]
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, get("/stream"))
            got = b""
            async with asyncio.timeout(4 * LIMIT):
                while b": begun" not in got:
                    if app.streams:
                        app.streams[0].raw(b": begun\n\n" + b"x" * size)
                        app.streams.clear()
                    got += await loop.sock_recv(client, 100)
                begun = loop.time()
                while len(got) < size:
                    part = await loop.sock_recv(client, 1000)
                    assert part, f"cut after {len(got)} bytes and {loop.time() - begun:.1f} s"
                    got += part
                    await asyncio.sleep(0.2)
            assert loop.time() - begun > 2 * limits.STALL_LIMIT


async def test_a_reader_that_stops_is_cut_after_the_limit_and_not_before() -> None:
    async with reading(Mirror(body_limit=BIG), "Connection: close") as (listener, _):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(LIMIT):
            while not any(connection.unsent for connection in listener.shared.connections):
                await anyio.lowlevel.checkpoint()
            now = loop.time()
            (connection,) = listener.shared.connections
            unsent, same = -1, 0
            while same < 50:  # the kernel has taken what it takes
                await anyio.lowlevel.checkpoint()
                same, unsent = (same + 1, unsent) if connection.unsent == unsent else (0, connection.unsent)
            for _ in range(3):
                connection.expire(now)
            await anyio.lowlevel.checkpoint()
            assert connection in listener.shared.connections
            for step in range(1, 10):
                connection.expire(now + step * (limits.STALL_LIMIT + 1))
            await until_left(listener, 0)


async def test_one_long_message_and_what_follows_it_do_not_make_its_reader_slow() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(get("/stream"))
        await client.head()
        app.streams[0].write(b"x" * 20_000_000)
        for _ in range(100):
            app.streams[0].raw(b": ping\r\n\r\n")
        assert not app.streams[0].ended.done()
        async with asyncio.timeout(LIMIT):
            await client.reader.readexactly(20_000_000)


@pytest.mark.slow
async def test_the_reader_that_holds_most_is_cut_when_all_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNSENT_TOTAL", 8_000_000)
    app = Mirror()
    async with listening(app) as (_, connect):
        for _ in range(2):
            client = await connect()
            client.writer.write(get("/stream"))
            await client.head()
        app.streams[0].write(b"x" * 20_000_000)
        app.streams[1].write(b"x" * 2_000_000)
        async with asyncio.timeout(LIMIT):
            assert await app.streams[0].ended == "client"
        assert not app.streams[1].ended.done()


async def half(client: Client, request: bytes) -> bytes:
    """Everything that is answered to a request whose sender sends no more."""
    client.writer.write(request)
    client.writer.write_eof()
    return await client.rest()


@pytest.mark.parametrize(
    ("request_", "answers"),
    [
        (get("/p"), [b"200"]),
        (post("/p", b"hello"), [b"200"]),
        (b"GET /p HTTP/1.0\r\n\r\n", [b"200"]),
        (get("/no"), [b"401"]),
        (get("/p") + get("/no") + get("/q"), [b"200", b"401", b"200"]),
        (get("/p") + get("/q")[:-2], [b"200"]),
        (post("/p", b"hello")[:-1], []),
        (get("/p")[:-2], []),
        (b"", []),
    ],
)
async def test_a_client_that_closes_its_sending_side_gets_what_it_asked_for_whole(request_: bytes, answers: list[bytes]) -> None:
    async with listening(Mirror()) as (_, connect):
        said = await half(await connect(), request_)
        assert re.findall(rb"HTTP/1\.1 (\d{3}) ", said) == answers


@pytest.mark.slow
async def test_a_client_that_closed_its_sending_side_counts_as_gone_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HALF_CLOSED", 0.0)
    app = Mirror()
    async with listening(app) as (_, connect):
        assert await half(await connect(), get("/slow")) == b""
        async with asyncio.timeout(LIMIT):
            await app.lost.wait()


async def test_a_stream_ends_when_its_client_closes_its_sending_side() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(get("/stream"))
        await client.head()
        client.writer.write_eof()
        async with asyncio.timeout(LIMIT):
            await app.lost.wait()


async def test_a_body_behind_a_running_request_is_invited_when_its_turn_comes() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(get("/slow") + b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(LIMIT):
            await app.waiting.wait()
        app.go.set()
        assert (await client.answer())[0] == 200
        assert (await client.answer())[0] == 100
        assert (await client.ask(b"hello"))[2] == b"POST|/p||x|hello"
