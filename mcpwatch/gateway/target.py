"""What a route leads to: one member, or several together. The shapes that the wires know.

Owns the `Target` and `ClientSession` protocols. Must not know HTTP or processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mcpwatch.gateway.call import Share, Sink
from mcpwatch.gateway.message import Envelope
from mcpwatch.gateway.replay import Replay

if TYPE_CHECKING:
    from mcpwatch.gateway.outbox import Course
    from mcpwatch.gateway.passage import Passage
    from mcpwatch.gateway.seats import Guest
    from mcpwatch.gateway.turn import Stream


class ClientSession(Protocol):
    """One client's session, whatever it leads to."""

    id: str
    owner: str
    seen: float
    open: int
    pipes: set[Stream]
    resumable: bool
    version: str
    dropped: int
    replay: Replay

    @property
    def costly(self) -> bool:
        """Whether it keeps a process of its own."""
        ...

    async def take(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """One message of the client. Raises `Down` while a request has no answer."""
        ...

    def deliver(self, data: bytes, share: Share) -> None:
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

    def course(self) -> Course:
        """The way of the answer to one POST."""
        ...

    def taken_up(self, stream: int) -> Course | None:
        """The answer that is still under way on this stream."""
        ...

    async def close(self) -> None:
        """The session is over."""
        ...


class OneSession(ClientSession, Protocol):
    """A session for one request of the stateless wire."""

    guest: Guest | None

    async def attend(self) -> None:
        """Hear of what every session of its members hears. Raises `Down`."""
        ...


class Target(Protocol):
    """What a route leads to."""

    @property
    def name(self) -> str:
        """The name of the member or group; empty for all."""
        ...

    async def ready(self) -> None:
        """Return when it can take requests. Raises `Down`."""
        ...

    def begin(self, owner: str) -> ClientSession:
        """A new session for a client."""
        ...

    async def once(self, owner: str) -> tuple[OneSession, bool]:
        """A session for one request of the stateless wire, and whether it speaks that wire itself. Raises `Down`."""
        ...

    async def passage(self) -> Passage | None:
        """The way to an upstream that takes requests of the stateless wire as they are. Raises `Down`."""
        ...

    async def discover(self) -> bytes:
        """The result of `server/discover`, for a target that does not speak the stateless wire itself. Raises `Down`."""
        ...
