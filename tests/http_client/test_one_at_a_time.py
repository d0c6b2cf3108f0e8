"""A server that takes one connection after the other is not made deaf to everybody else by a client that has nothing to ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from mcpwatch.http_client import connection
from mcpwatch.http_client.client import HttpClient

pytestmark = pytest.mark.anyio
LIMIT = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OneAtATime:
    """Answers on one connection until that is closed, and only then on the next; `taken` counts connections."""

    def __init__(self) -> None:
        self.taken = 0
        self._turn = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._turn:
            self.taken += 1
            while await reader.readline():
                while (await reader.readline()).strip():
                    pass
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[OneAtATime, str]]:
    server = OneAtATime()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener:
        yield server, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


async def ask(client: HttpClient) -> bytes:
    async with asyncio.timeout(LIMIT):
        return await (await client.request("GET", client.url, {})).read()


@pytest.mark.parametrize("asks", [1, 3])
async def test_a_client_with_nothing_to_ask_leaves_the_server_to_others(monkeypatch: pytest.MonkeyPatch, asks: int) -> None:
    monkeypatch.setattr(connection, "IDLE_CLOSED", 0.02)
    async with serving() as (server, url):
        one, other = HttpClient(url, direct=True), HttpClient(url, direct=True)
        assert [await ask(one) for _ in range(asks)] == [b"ok"] * asks
        assert server.taken == 1, "what is asked at once goes over one connection"
        assert await ask(other) == b"ok"
        other.close()


async def test_a_client_that_asks_all_the_time_takes_turns_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AGE_MAX", 0.02)
    async with serving() as (server, url):
        one, other = HttpClient(url, direct=True), HttpClient(url, direct=True)
        assert await ask(one) == b"ok"
        waiting = asyncio.create_task(ask(other))
        async with asyncio.timeout(LIMIT):
            while not waiting.done():
                await ask(one)
        assert await waiting == b"ok"
        assert server.taken > 1
        one.close()
        other.close()
