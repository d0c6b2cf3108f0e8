"""Sockets that serve one application: opened, looked after, drained.

Owns listening sockets and the set of connections. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from mcpwatch.gateway.http.connection import Connection
from mcpwatch.gateway.http.http_exchange import App

TICK = 1.0
"""Seconds between looks for connections that are due."""
BACKLOG = 2048


class Listener:
    """The sockets of one application. `head_bytes` bounds the target and the headers of one request."""

    def __init__(self, app: App, head_bytes: int) -> None:
        self.app = app
        self.head_bytes = head_bytes
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self._empty = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.get_running_loop()
        self._look = self._loop.call_later(TICK, self._sweep)

    async def tcp(self, host: str, port: int) -> int:
        """Listen on an address; the port in use. Raises `OSError`."""
        server = await self._loop.create_server(self._connection, host or None, port, backlog=BACKLOG)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def unix(self, path: str) -> None:
        """Listen on a unix socket. Raises `OSError`."""
        self._servers.append(await self._loop.create_unix_server(self._connection, path))

    def refuse(self) -> None:
        """Take no new connection."""
        for server in self._servers:
            server.close()

    async def drain(self, limit: float) -> None:
        """Wait for running requests, then close what is left."""
        self.draining = True
        self._empty.clear()
        for connection in list(self.connections):
            connection.drain()
        if not self.connections:
            self._empty.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._empty.wait()
        for connection in list(self.connections):
            connection.abort()
        for task in list(self.tasks):
            task.cancel()
        self._look.cancel()

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._empty.set()

    def _connection(self) -> Connection:
        return Connection(self, self._loop)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self.connections):
            connection.expire(now)
        self._look = self._loop.call_later(TICK, self._sweep)
