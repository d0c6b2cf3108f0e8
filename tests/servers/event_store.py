"""What a server sent on its streams, kept in memory, so that a client can take one up that ended early."""

from __future__ import annotations

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage


class MemoryEvents(EventStore):
    """Events by number, with their streams."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        after = int(last_event_id)
        stream = self._events[after - 1][0]
        for number, (own, message) in enumerate(self._events[after:], after + 1):
            if own == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
