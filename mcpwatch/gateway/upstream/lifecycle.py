"""The words in which the life of an upstream is told: where it is, what happened to it, why it takes no requests now.

Owns the words alone. Must not know links, sessions or how an upstream is kept alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mcpwatch.gateway.protocol import message


class UpstreamPhase(StrEnum):
    """Where an upstream is."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FAILED = "failed"
    ENDED = "ended"
    """A hosted server that ended as it may: its restart policy leaves it so."""
    HELD = "held"


class UpstreamUnavailable(Exception):
    """The member cannot take requests now; the text says why. `retry_after` is in whole seconds."""

    def __init__(self, member: str, reason: str, retry_after: int) -> None:
        self.member = member
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"member {member!r} is down: {reason}")

    def error(self, raw_id: bytes | None) -> bytes:
        """The JSON-RPC error that a client gets."""
        data = {"member": self.member, "reason": self.reason, "retryAfter": self.retry_after}
        return message.error(raw_id, message.MEMBER_DOWN, str(self), data)


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """Something that happened to a member: `started`, `connected`, `exited`, `parked`, `lost`, `held`."""

    name: str
    member: str
    pid: int | None
    generation: int
    code: int | None = None
    signal: int | None = None
    error: str | None = None
