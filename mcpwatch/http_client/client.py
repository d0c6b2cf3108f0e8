"""Requests to one server: kept connections, streamed answers, and what is sent twice (ADR 0075). Why not httpx: ADR 0074."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from mcpwatch.http_client.coding import UNPACKED, BadCoding, Unpacker
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.dial import dial
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import REJECTED, BadProxy, ForwardProxy, forward_proxy
from mcpwatch.http_client.names import unresolved
from mcpwatch.http_client.sse import ANSWER_LIMIT, EventParser, ServerSentEvent, shown
from mcpwatch.http_client.trust import BY_DEFAULT, Trust
from mcpwatch.http_client.url import Url, parse
from mcpwatch.model.symptom import Stage, Symptom

CONNECT_LIMIT = 5.0
"""Seconds for a connection, the proxy's tunnel and TLS included."""
IDLE_KEPT = 16
"""Connections kept open per client when they have nothing to do."""
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
"""Methods whose request may be sent once more when a kept connection turns out to be closed: doing it twice does it once."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SHOWN = 200
"""Characters of a header of the upstream that an error shows."""
_TO = "what its configuration names is no URL; write http://HOST:PORT/PATH or https://HOST/PATH"

Dial = Callable[[Url, ForwardProxy | None], Awaitable[ClientConnection]]
"""Opens a connection to a server, by a proxy or without. Raises `HttpFailed`."""


class Response:
    """An answer whose head has come. Read it to the end or close it. Names of headers are in lower case."""

    def __init__(self, body: ClientConnection, keep: Callable[[ClientConnection], None]) -> None:
        self._body = body
        self._keep = keep
        self._over = False
        self._whole: bytes | None = None
        self.status = body.status
        self.headers = body.headers

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def media(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def coding(self) -> str:
        """How the body is compressed, lower case; empty when it is not."""
        return self.headers.get("content-encoding", "").strip().lower().replace("identity", "")

    @property
    def oddity(self) -> str:
        """Why this answer is of no use although it is one: a redirect, or compressed. Empty when it is neither."""
        if self.status in REDIRECTS:
            where = self.headers.get("location", "").partition("?")[0][:SHOWN]
            told = f"upstream answered {self.status} and redirects to {where!r}"
            return (
                f"{told}, for now: to log in there?"
                if self.status in (302, 303)
                else f"{told}; write that URL into the configuration"
            )
        if self.coding:
            return (
                f"upstream answered compressed ({self.coding[:SHOWN]!r}) although it was asked not to; switch compression off there"
            )
        return ""

    @property
    def unreadable(self) -> str:
        """Why this answer is of no use to one that reads it whole: a body compressed in a usual way is read."""
        plain = self.status not in REDIRECTS and self.media != "text/event-stream" and self.coding in UNPACKED
        return "" if plain else self.oddity

    async def read(self, limit: int = ANSWER_LIMIT) -> bytes:
        """The whole body, unpacked where it came compressed in a usual way, of at most `limit` bytes. Raises `HttpFailed`.

        It may be read again.
        """
        if self._whole is not None:
            return self._whole
        parts: list[bytes] = []
        size = 0
        unpacker = Unpacker(self.coding if self.coding in UNPACKED else "")
        try:
            async for part in unpacker.read(self.part, limit + 1):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise HttpFailed(f"the answer is larger than {shown(limit)}", Symptom.TOO_LARGE, connected=True, sent=True)
        except BadCoding as error:
            raise HttpFailed(str(error), Symptom.BAD_REPLY, connected=True, sent=True) from None
        finally:
            self.close()
        self._whole = b"".join(parts)
        return self._whole

    async def part(self) -> bytes | None:
        """More of the body as it comes, `None` at its end. Raises `HttpFailed` when it is cut."""
        if self._over:
            return None
        part = await self._body.next_part()
        if part is None:
            self._over = True
            self._keep(self._body)
        return part

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `HttpFailed` when it is cut."""
        while (part := await self.part()) is not None:
            yield part

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The body as server-sent events. Raises `HttpFailed` when it is cut."""
        parser = EventParser()
        while (part := await self.part()) is not None:
            for event in parser.feed(part):
                yield event

    def progressed(self, size: int) -> None:
        """So many bytes more came of an event that is not whole."""
        self._body.progressed(size)

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not (self._over or self._body.closed or self._body.read)

    def close(self) -> None:
        """Read no more: the connection is kept when its answer is whole, else dropped."""
        if self._over:
            return
        self._over = True
        if self._body.read:
            self._keep(self._body)
        else:
            self._body.abort()


class HttpClient:
    """Requests to one origin, by the proxy that the environment names for it, unless `direct`. `headers` go with every request."""

    def __init__(
        self,
        url: str,
        headers: tuple[tuple[str, str], ...] = (),
        trust: Trust = BY_DEFAULT,
        *,
        dialled_by: Dial | None = None,
        repeatable: frozenset[str] = REPEATABLE,
        direct: bool = False,
    ) -> None:
        self.url = url
        self.headers = headers
        self._trust = trust
        self._dial = dialled_by or self._within_limit
        self._repeatable = repeatable
        self._idle: list[ClientConnection] = []
        self._proxy: ForwardProxy | None = None
        self._unusable = ""
        try:
            self._proxy = None if direct else forward_proxy(url, os.environ)
        except BadProxy as error:
            self._unusable = str(error)

    async def request(self, method: str, url: str | Url, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request and return when the head of its answer is there; bound it from outside. Raises `HttpFailed`.

        A request is sent once. When a kept connection was closed before any answer came, one of a repeatable method is sent
        once more on a new connection; any other may have been executed, and the error says so (`sent`).
        Nothing is sent when the method, the target or a header holds a line break or NUL: it would begin a request of its own.
        """
        to = self._to(url)
        head = self._head(method, to, headers, body)
        repeat = method in self._repeatable
        while True:
            kept = self._kept()
            connection = kept or await self._dial(to, self._proxy)
            try:
                await connection.exchange(head + body)
            except HttpFailed as error:
                connection.abort()
                if kept is None or connection.answered or (error.sent and not repeat):
                    raise
                if error.sent:  # the other kept connections are as old: not one more of them
                    repeat = False
                    self.close()
            except asyncio.CancelledError:
                connection.abort()
                raise
            else:
                if connection.status == REJECTED and self._proxy is not None and to.scheme == "http":
                    connection.abort()
                    raise HttpFailed(f"{to.host}: {self._proxy.rejection}")
                return Response(connection, self.give_back)

    async def prepare(self, url: Url) -> None:
        """Open a connection for the next request. Raises `HttpFailed`."""
        self.give_back(await self._dial(self._to(url), self._proxy))

    def _to(self, url: str | Url) -> Url:
        """Where a request goes. Raises `HttpFailed`, in words without the URL: it may hold a secret."""
        if self._unusable:
            raise HttpFailed(self._unusable)
        try:
            return parse(url) if isinstance(url, str) else url
        except ValueError:
            raise HttpFailed(_TO, Symptom.UNRESOLVED) from None

    async def _within_limit(self, to: Url, proxy: ForwardProxy | None) -> ClientConnection:
        where = proxy.shown if proxy is not None else to.host
        stages: list[Stage] = []
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                return await dial(to, self._trust, proxy, enter=stages.append)
        except TimeoutError:
            if stages == [Stage.RESOLVE] and proxy is None:
                raise unresolved(where, CONNECT_LIMIT) from None
            raise HttpFailed(f"no connection to {where} within {CONNECT_LIMIT:g} s") from None
        except OSError as error:
            raise HttpFailed(f"no connection to {where}: {error.strerror or error}") from None

    def _head(self, method: str, to: Url, headers: Mapping[str, str], body: bytes) -> bytes:
        """The head of a request; to a proxy that passes it on in clear, with the whole URL. Raises `HttpFailed`."""
        target, lines = to.target, [*headers.items()]
        if self._proxy is not None and to.scheme == "http":
            target = f"http://{to.authority}{target}"
            lines += self._proxy.headers().items()
        given = {name.lower() for name in headers}
        if self.headers:
            own = [line for line in self.headers if line[0].lower() not in given]
            given.update(name.lower() for name, _ in own)
            lines = own + lines
        if "accept-encoding" not in given:
            lines.insert(0, ("Accept-Encoding", "identity"))
        if "host" not in given:
            lines.insert(0, ("Host", to.authority))
        if body or method == "POST":
            lines.append(("Content-Length", str(len(body))))
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines)])
        if "\0" in head or not head.count("\r") == head.count("\n") == len(lines):
            raise HttpFailed("a line break or NUL in the head of a request", connected=True)  # no sign that the server is gone
        return (head + "\r\n\r\n").encode("latin-1", "replace")

    def give_back(self, connection: ClientConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        if connection.reusable and len(self._idle) < IDLE_KEPT:
            connection.idle()
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> ClientConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.abort()
        return None
