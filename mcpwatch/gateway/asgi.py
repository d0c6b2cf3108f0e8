"""The words of ASGI that the gateway uses, and the one door to uvicorn: its connection with a few more bounds.

Owns raw answers, bodies with a limit and streams written straight to the socket. Must not know MCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
SLOW_LIMIT = 8 * 1024 * 1024
"""A reader that leaves more than this unread is cut off (bytes)."""
HEAD_LIMIT = 30.0
"""Seconds in which a new connection must have sent the head of its first request."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept."""


class TooLarge(Exception):
    """A body is longer than its limit."""


class Connection(HttpToolsProtocol):
    """One client connection: uvicorn's, with bounded heads and a word when it is lost."""

    head_bytes = 64 * 1024

    def __init__(self, config: Config, server_state: ServerState) -> None:
        super().__init__(config, server_state, {"connection": self})
        self.on_lost: Callable[[], None] | None = None
        self._head = 0
        self._in_head = True
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_LIMIT, transport.close)

    def data_received(self, data: bytes) -> None:
        """Parse, and give up on a head without end."""
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self.head_bytes and not self.transport.is_closing():
            self.send_400_response("Request head is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request can be answered."""
        self._head = 0
        self._in_head = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().on_headers_complete()

    def reply(self, status: int, body: bytes, extra: Headers) -> bool:
        """A whole JSON answer in one write; the way through `send` looks at every header twice. False when that way is needed."""
        cycle = self.cycle
        if cycle.response_started or cycle.disconnected or not cycle.keep_alive or self.flow.write_paused or cycle.more_body:
            return False
        head = b"".join([name + b": " + value + b"\r\n" for name, value in extra]) if extra else b""
        kind = b"content-type: application/json\r\n" if body else b""
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"%bcontent-length: %d\r\n%b%b\r\n%b" % (STATUS_LINE[status], len(body), kind, head, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever streams on this connection."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)
        lost, self.on_lost = self.on_lost, None
        if lost is not None:
            lost()


class Stream:
    """An open event stream, written straight to the socket: no task wakes for a message.

    `ended` is done when the client went away, reads too slowly, or the gateway ends it.
    """

    def __init__(self, scope: Scope) -> None:
        connection: Connection = scope["state"]["connection"]
        self._transport = connection.transport
        self._chunked = scope["http_version"] == "1.1"
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.on_lost = lambda: self.end("client")
        if self._transport.is_closing():
            self.end("client")

    def write(self, data: bytes) -> None:
        """One JSON-RPC message as an event."""
        self.raw(b"event: message\r\ndata: " + data + b"\r\n\r\n")

    def raw(self, text: bytes) -> None:
        """Bytes of the stream."""
        transport = self._transport
        if self.ended.done() or transport.is_closing():
            return
        transport.write(b"%x\r\n%b\r\n" % (len(text), text) if self._chunked else text)
        if transport.get_write_buffer_size() > SLOW_LIMIT:
            self.end("slow")
            transport.abort()

    def end(self, reason: str) -> None:
        """Let the request that opened the stream finish."""
        if not self.ended.done():
            self.ended.set_result(reason)


async def open_stream(send: Send, extra: Headers) -> None:
    """The head of an event stream."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"), *extra]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def end_stream(send: Send) -> None:
    """The end of an event stream."""
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer(send: Send, status: int, body: bytes = b"", media: bytes = JSON, extra: Headers | None = None) -> None:
    """A whole answer."""
    headers: Headers = [(b"content-length", b"%d" % len(body))]
    if body:
        headers.append((b"content-type", media))
    if extra:
        headers += extra
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, `None` when the client went away. Raises `TooLarge`."""
    event = await receive()
    if event["type"] != "http.request":
        return None
    body: bytes = event["body"]
    if not event["more_body"] and len(body) <= limit:
        return body
    parts, size = [body], len(body)
    while event["more_body"]:
        event = await receive()
        if event["type"] != "http.request":
            return None
        parts.append(event["body"])
        size += len(event["body"])
        if size > limit:
            raise TooLarge
    if size > limit:
        raise TooLarge
    return b"".join(parts)


class Listener:
    """Sockets that serve one ASGI app without uvicorn's own loop, signals and ticking."""

    def __init__(self, app: App, head_bytes: int) -> None:
        self._config = Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE, interface="asgi3",
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []
        self._head_bytes = head_bytes

    async def tcp(self, host: str, port: int) -> int:
        """Listen on an address; the port in use. Raises `OSError`."""
        server = await asyncio.get_running_loop().create_server(self._connection, host or None, port, backlog=2048)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def unix(self, path: str) -> None:
        """Listen on a unix socket. Raises `OSError`."""
        self._servers.append(await asyncio.get_running_loop().create_unix_server(self._connection, path))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    def refuse(self) -> None:
        """Take no new connection."""
        for server in self._servers:
            server.close()

    async def drain(self, limit: float) -> None:
        """Wait for running requests, then close what is left."""
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=limit)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()

    def _connection(self) -> Connection:
        connection = Connection(self._config, self._state)
        connection.head_bytes = self._head_bytes
        return connection
