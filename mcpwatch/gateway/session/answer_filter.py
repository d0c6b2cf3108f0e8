"""Sinks that change an answer on its way back, or leave out what its client did not ask for. Must not know members or wires."""

from __future__ import annotations

from collections.abc import Callable

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.call import FINAL, PART, Delivery, Sink
from mcpwatch.gateway.upstream.subscriptions import LEVELS, level


class Filter:
    """A sink that changes the answer before it hands it on."""

    def __init__(self, sink: Sink, change: Callable[[bytes], bytes]) -> None:
        self._sink = sink
        self._change = change

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Hand on one message."""
        self._sink.deliver(self._change(data) if share == FINAL and data else data, share)


class QuietLog:
    """A sink that lets through log messages of level `wanted` or above alone, as the stateless wire wants it; of no level none."""

    def __init__(self, sink: Sink, wanted: object) -> None:
        self._sink = sink
        self._least = LEVELS.index(wanted) if isinstance(wanted, str) and wanted in LEVELS else len(LEVELS)

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Hand on one message, or leave it."""
        is_log = share == PART and b"notifications/message" in data and message.peek(data).method == "notifications/message"
        if not is_log or level(data) >= self._least:
            self._sink.deliver(data, share)
