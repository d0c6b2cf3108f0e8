"""One HTTP request on its way through the gateway, and the answers that all wires share.

Owns the reading of a request and the writing of its answer as JSON or as a stream. Must not know members.
"""

from __future__ import annotations

from msgspec import Struct

from mcpwatch.gateway.http.http_exchange import JSON, Headers, HttpExchange, OpenStream
from mcpwatch.gateway.protocol import message, reading
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.target import RouteTarget
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable

KEEP_ALIVE = 10.0
"""Seconds of silence after which an open stream gets a comment, and a waiting POST becomes a stream."""


WATCHDOG = b"mcpwatch/"
"""How the `User-Agent` of the watchdog's own checks begins: they are no clients, and their calls are not counted."""


class McpRequest(Struct, eq=False):
    """One HTTP request: what it is for, who sent it (`owner` is a mark of its token), and headers for its answer."""

    turn: HttpExchange
    target: RouteTarget
    owner: str
    headers: dict[bytes, bytes]
    extra: list[tuple[bytes, bytes]]

    @property
    def checking(self) -> bool:
        """Whether the watchdog asks, on its own account."""
        return self.headers.get(b"user-agent", b"").startswith(WATCHDOG)

    @property
    def who(self) -> tuple[str, str, bytes]:
        """The client, as far as any request tells: the mark of its token, its address, its `User-Agent`."""
        return self.owner, self.turn.peer, self.headers.get(b"user-agent", b"")

    def respond(self, status: int, body: bytes = b"", extra: Headers | None = None) -> None:
        """A whole answer as JSON."""
        self.turn.answer(status, body, JSON, [*self.extra, *extra] if extra else self.extra)

    def stream(self, extra: Headers = (), first: bytes = b"") -> OpenStream:
        """An answer as an event stream, open from now on; `first` goes out with its head."""
        return self.turn.stream([*self.extra, *extra], first=first)

    def lasting_stream(self, extra: Headers = (), first: bytes = b"") -> OpenStream:
        """The same when nobody's work ends with it: it is finished from elsewhere."""
        self.turn.promised = True
        return self.stream(extra, first)

    def read(self) -> tuple[bytes, Envelope] | None:
        """The message in the body; `None` when there is none, and that is answered already."""
        body = self.turn.body
        try:
            return body, reading.of_client(body)
        except message.Malformed as error:
            self.malformed(error)
            return None

    def is_json(self) -> bool:
        """Whether the body says that it is JSON: a page may send anything else without asking first. False is answered already."""
        media = self.headers.get(b"content-type", b"")
        if media == b"application/json" or media.partition(b";")[0].strip().lower() == b"application/json":
            return True
        self.respond(415, message.error(None, message.INVALID_REQUEST, "Content-Type must be application/json"))
        return False

    def malformed(self, error: message.Malformed) -> None:
        """The answer to a body that is refused unread."""
        text = "Parse error" if error.code == message.PARSE_ERROR else "Invalid request"
        self.respond(400, message.error(None, error.code, f"{text}: {error}"))

    def unavailable(self, down: UpstreamUnavailable, raw_id: bytes | None) -> None:
        """The answer when a member is down."""
        self.respond(503, down.error(raw_id), [(b"retry-after", b"%d" % down.retry_after)])

    def lost_session(self) -> None:
        """The answer to a session id that means nothing here."""
        self.respond(404, message.error(None, message.INVALID_REQUEST, "Session not found; initialize again"))


async def stream(request: McpRequest, exchange: Exchange, messages: list[bytes]) -> None:
    """An answer as an event stream, from `messages` on until the exchange is done or nobody reads it."""
    pipe = request.stream()
    while not pipe.ended.done():
        for data in messages:
            pipe.write(data)
        if not messages:
            pipe.raw(b": ping\r\n\r\n")
        if exchange.done and not exchange.messages:
            break
        messages = await exchange.more(KEEP_ALIVE)
    pipe.finish()
