"""A test server on a free port, for the length of a block; it leaves no task and no socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from typing import Protocol


class Serves(Protocol):
    """A server that knows its port and the tasks of its connections."""

    port: int
    tasks: set[asyncio.Task[None]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        ...


@contextlib.asynccontextmanager
async def listening(server: Serves, tls: ssl.SSLContext | None = None) -> AsyncGenerator[None]:
    """Set its port and let it serve."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listener.close()
        tasks = list(server.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
