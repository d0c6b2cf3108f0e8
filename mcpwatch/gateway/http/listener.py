"""Sockets that serve one application: opened, looked after, drained.

Owns listening sockets and the set of connections. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.budget import Budget
from mcpwatch.gateway.http.connection import ServerConnection
from mcpwatch.gateway.http.http_exchange import Application
from mcpwatch.gateway.http.shared import Shared
from mcpwatch.http_client.keepalive import notice_vanished
from mcpwatch.http_client.url import address_family

TICK = 1.0
"""Seconds between looks for connections that are due."""
BACKLOG = 2048


class Listener:
    """The sockets of one application.

    `head_bytes` bounds the target and the headers of one request; `connections` and `per_address` how many may be open.
    """

    def __init__(
        self,
        app: Application,
        head_bytes: int,
        connections: int = limits.CONNECTIONS,
        per_address: int = limits.CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self.shared = Shared(app, head_bytes, Budget(connections, min(per_address, connections)))
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.get_running_loop()
        self._look = self._loop.call_later(TICK, self._sweep)

    async def tcp(self, host: str, port: int) -> int:
        """Listen on an address; the port in use. Raises `OSError`."""
        family = address_family(host)
        if family is not None and 0 <= port < 2**16:
            server = await self._loop.create_server(self._connection, sock=_bound(family, host, port), backlog=BACKLOG)
        else:
            server = await self._loop.create_server(self._connection, host or None, port, backlog=BACKLOG)
        self._servers.append(server)
        for sock in server.sockets:
            notice_vanished(sock)
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
        shared = self.shared
        shared.draining = True
        shared.empty.clear()
        for connection in list(shared.connections):
            connection.drain()
        if not shared.connections:
            shared.empty.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await shared.empty.wait()
        for connection in list(shared.connections):
            connection.abort()
        for task in list(shared.tasks):
            task.cancel()
        self._look.cancel()

    def _connection(self) -> ServerConnection:
        return ServerConnection(self.shared, self._loop)

    def _sweep(self) -> None:
        now = self._loop.time()
        connections = self.shared.connections
        for connection in list(connections):
            connection.expire(now)
        if sum(connection.unsent for connection in connections) > limits.UNSENT_TOTAL:
            max(connections, key=lambda connection: connection.unsent).abort()
        self._look = self._loop.call_later(TICK, self._sweep)


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A socket that has a literal address: the loop would ask its resolver, four threads for the life of the process."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
