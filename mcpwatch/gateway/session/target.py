"""What a route leads to: one member, or several together. The shapes that the wires know.

Owns the `RouteTarget` and `ClientSession` protocols. Must not know HTTP or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from mcpwatch.gateway.protocol.call import Delivery, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.session.replay import Replay
from mcpwatch.gateway.upstream.answer_record import Counts

if TYPE_CHECKING:
    from mcpwatch.gateway.http.http_exchange import OpenStream
    from mcpwatch.gateway.session.passthrough_link import Passthrough
    from mcpwatch.gateway.session.session_output import ResponseStream
    from mcpwatch.gateway.upstream.interactive_pool import ClientIdentity


class ClientSession(Protocol):
    """One client's session, whatever it leads to."""

    id: str
    owner: str
    seen: float
    open: int
    pipes: set[OpenStream]
    resumable: bool
    version: str
    dropped: int

    @property
    def replay(self) -> Replay:
        """What it was sent on its streams."""
        ...

    def expire(self, now: float) -> None:
        """Forget what was sent long ago (`now`: monotonic seconds)."""
        ...

    @property
    def served_by(self) -> Iterable[str]:
        """The members that it has used, by name."""
        ...

    checking: bool
    """Whether this is a check of the watchdog, which counts as no client."""

    @property
    def costly(self) -> bool:
        """Whether it keeps a process of its own."""
        ...

    async def take(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """One message of the client. Raises `UpstreamUnavailable` while a request has no answer."""
        ...

    def try_take(self, data: bytes, envelope: Envelope, sink: Sink) -> bool:
        """Take a message of the client when that needs no waiting. False, and nothing is done, when it does."""
        ...

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Be the sink of a request, on the wire with one stream for everything."""
        ...

    def push(self, data: bytes) -> None:
        """Send the client a message that belongs to no request."""
        ...

    def connect(self, write: Callable[[bytes], None], after: int | None = None) -> None:
        """A stream to the client is open, to go on behind event `after`."""
        ...

    def disconnect(self, write: Callable[[bytes], None]) -> None:
        """That stream is gone."""
        ...

    def response_stream(self, *, polls: bool = False) -> ResponseStream:
        """The way of the answer to one POST. `polls`: the client takes up a stream that ends before the answer."""
        ...

    def taken_up(self, stream: int) -> ResponseStream | None:
        """The answer that is still under way on this stream."""
        ...

    def end(self) -> Coroutine[Any, Any, None] | None:
        """The session is over; what of that has to be waited for, if anything."""
        ...

    async def close(self) -> None:
        """The session is over, and all that has to be waited for."""
        ...


class OneSession(ClientSession, Protocol):
    """A session for one request of the stateless wire."""

    identity: ClientIdentity | None

    async def attend(self) -> None:
        """Hear of what every session of its members hears. Raises `UpstreamUnavailable`."""
        ...


class RouteTarget(Protocol):
    """What a route leads to."""

    @property
    def name(self) -> str:
        """The name of the member or group; empty for all."""
        ...

    @property
    def counts(self) -> Counts | None:
        """What is counted of its member; `None` where there are several."""
        ...

    @property
    def running(self) -> bool:
        """Whether it can take requests now."""
        ...

    plain_until: float
    """Until when (monotonic seconds) no tool is expected to want a header of the stateless wire."""

    async def ready(self) -> None:
        """Return when it can take requests. Raises `UpstreamUnavailable`."""
        ...

    def begin(self, owner: str) -> ClientSession:
        """A new session for a client."""
        ...

    async def once(self, owner: str) -> tuple[OneSession, bool]:
        """A session for one request of the stateless wire, and whether it speaks that wire itself. Raises `UpstreamUnavailable`."""
        ...

    async def passthrough(self) -> Passthrough | None:
        """The way to an upstream that takes requests of the stateless wire as they are. Raises `UpstreamUnavailable`."""
        ...

    async def discover(self) -> bytes:
        """The result of `server/discover`, for a target that does not speak the stateless wire itself.

        Raises `UpstreamUnavailable`.
        """
        ...
