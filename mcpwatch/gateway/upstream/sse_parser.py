"""Server-sent events in the answer of an upstream: bytes in, events out. Pure.

Owns what an answer may be at most, and what its failure is called. Must not know sockets.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWER_LIMIT = 64 * 1024 * 1024
"""A longer answer or event is an error (bytes)."""


class HttpFailed(Exception):
    """The request got no answer; the text says why. `connected`: it may have reached the server."""

    def __init__(self, text: str, *, connected: bool = False) -> None:
        self.connected = connected
        super().__init__(text)


@dataclass(slots=True)
class Event:
    """One server-sent event."""

    name: str = "message"
    data: bytes = b""
    id: str | None = None


class EventParser:
    """Cuts bytes into server-sent events."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = Event()
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> list[Event]:
        """The events that are complete after `part`."""
        text = self._rest + part
        if b"\r" in text:
            held = text.endswith(b"\r")
            text = (text[:-1] if held else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = text.split(b"\n")
            self._rest = lines.pop() + (b"\r" if held else b"")
        else:
            lines = text.split(b"\n")
            self._rest = lines.pop()
        if len(self._rest) > ANSWER_LIMIT:
            raise HttpFailed("an event is too long", connected=True)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event, self._event = self._event, Event()
            data, self._data = self._data, []
            if not data:
                return None
            event.data = b"\n".join(data)
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event.name = value.decode(errors="replace")
        elif name == b"id":
            self._event.id = value.decode(errors="replace")
        return None
