"""What a receiver is: the contract of a notifier, and what every receiver's spec has. Knows no receiver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import Field

from mcpwatch.alerts.book import AlertSnapshot, Notification
from mcpwatch.model.time import WallTime
from mcpwatch.registry import KindSpec
from mcpwatch.units import Span

TIMEOUT = 10.0
"""Seconds a receiver has for one notification unless its spec says otherwise."""


class ReceiverSpec(KindSpec):
    """What every receiver knows."""

    timeout: Span = Field(TIMEOUT, description="How long one delivery may take.")


class Notifier(Protocol):
    """Hands notifications to one receiver.

    `notify` either returns, and the receiver has it, or raises `NotifyFailed`, whose message names no secret. It is given up by
    cancellation after the receiver's timeout. The same notification may be handed over again after an unclear end: a notifier
    gives the receiver `notification.id`, or a key of the alert, wherever the receiver can tell a second one from the first.
    """

    restate: float | None
    """Seconds after which a receiver wants to hear all firing alerts again, or it forgets them; `None` for most."""

    keeps_open: bool
    """Whether the receiver keeps an incident open until it hears of its end (so that a test must end itself)."""

    async def prepare(self) -> None:
        """Get ready for a first delivery, when that takes a while of our own; nothing the second time. Raises `NotifyFailed`."""
        ...

    async def notify(self, notification: Notification) -> None:
        """Deliver one notification. Raises `NotifyFailed`."""
        ...

    async def state(self, items: Sequence[AlertSnapshot], now: WallTime) -> None:
        """Say again what fires, for a receiver with `restate`. Raises `NotifyFailed`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Plain:
    """The rest of a notifier for receivers that remember what they are told and hold nothing open."""

    restate: float | None = None
    keeps_open: bool = False

    async def prepare(self) -> None:
        """Nothing to get ready."""

    async def state(self, items: Sequence[AlertSnapshot], now: WallTime) -> None:
        """Nothing to say again."""

    async def close(self) -> None:
        """Nothing to let go of."""
