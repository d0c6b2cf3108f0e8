"""A sink that changes an answer on its way back. Must not know members or wires."""

from __future__ import annotations

from collections.abc import Callable

from mcpwatch.gateway.protocol.call import FINAL, Delivery, Sink


class Filter:
    """A sink that changes the answer before it hands it on."""

    def __init__(self, sink: Sink, change: Callable[[bytes], bytes]) -> None:
        self._sink = sink
        self._change = change

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Hand on one message."""
        self._sink.deliver(self._change(data) if share == FINAL and data else data, share)
