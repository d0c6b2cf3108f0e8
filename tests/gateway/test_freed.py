"""What served a client is freed with its connection, by its count of references alone: nothing is left for the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

from tests.gateway.raw import LIMIT, Client, Mirror, get, listening, post

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def answered(client: Client) -> None:
    """Two requests, each with its answer."""
    await client.ask(get("/p"))
    await client.ask(post("/p", b"hello"))


async def streamed(client: Client) -> None:
    """A stream that is open."""
    client.writer.write(get("/stream"))
    await client.head()


async def cut(client: Client) -> None:
    """A request that is not whole."""
    await client.ask(get("/p"))
    client.writer.write(post("/p", b"hello")[:-2])
    await client.writer.drain()


async def refused(client: Client) -> None:
    """What is no request."""
    await client.ask(b"no request\r\n\r\n")


@pytest.mark.parametrize("used", [answered, streamed, cut, refused])
async def test_a_connection_is_freed_when_it_ends(used: Callable[[Client], Awaitable[None]]) -> None:
    app = Mirror()
    async with listening(app) as (listener, connect):
        client = await connect()
        async with asyncio.timeout(LIMIT):
            while not listener.shared.connections:
                await anyio.lowlevel.checkpoint()
        (freed,) = [weakref.ref(connection) for connection in listener.shared.connections]
        await used(client)
        client.writer.transport.abort()
        async with asyncio.timeout(LIMIT):
            while listener.shared.connections or listener.shared.tasks:
                await anyio.lowlevel.checkpoint()
            app.streams.clear()
            while freed() is not None:
                await anyio.lowlevel.checkpoint()
