"""The shapes that links and sessions share: who asks, where answers go, one request on its way.

Pure. Must not know HTTP, processes or how messages are matched.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct, field

Delivery = Literal["part", "final", "suspended"]
PART: Delivery = "part"
FINAL: Delivery = "final"
SUSPENDED: Delivery = "suspended"
"""No message: the upstream ended its stream and wants to be polled for the rest after `data` milliseconds (SEP-1699)."""


class Sink(Protocol):
    """Takes what belongs to one request: its notifications and questions, and at last its answer."""

    def deliver(self, data: bytes, share: Delivery) -> None:
        """One message, or a wait. After `FINAL` nothing follows; empty data then ends the request without an answer."""
        ...


class Peer(Protocol):
    """A client session, as a link sees it."""

    id: str
    capabilities: frozenset[str]
    checking: bool
    """Whether it is a check of the watchdog, or of the gateway, and no client."""

    @property
    def attended(self) -> bool:
        """Whether its client is there to take an answer."""
        ...

    def push(self, data: bytes) -> None:
        """A message that belongs to no request of the session."""
        ...


class Call(Struct, eq=False):
    """One request on its way: whose it is, the id it came with, and where its answer goes. `until` and `began` are monotonic
    seconds.
    """

    number: int
    peer: Peer
    raw_id: bytes
    sink: Sink
    method: str
    token: bytes | None
    until: float
    out: bytes = b""
    position: int = 0
    began: float = 0.0

    @property
    def ends(self) -> bool:
        """Whether it ends by itself: a subscription does not, nor is one awaited that was cancelled."""
        return self.method not in {"", "subscriptions/listen"}

    @property
    def attended(self) -> bool:
        """Whether somebody waits for its end."""
        return self.ends and self.peer.attended


class PeerState(Struct, eq=False):
    """What one session has on a link."""

    calls: dict[bytes, int] = field(default_factory=dict[bytes, int])
    asks: set[int] = field(default_factory=set[int])
    uris: set[bytes] = field(default_factory=set[bytes])
    level: int = 0
