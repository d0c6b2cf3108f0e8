"""Server-sent events in an answer: bytes in, events out. Pure; source: the WHATWG standard, section 9.2.6."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.symptom import Symptom

ANSWER_LIMIT = 64 * 1024 * 1024
"""A longer answer or event is an error (bytes)."""
LINE_COST = 8
"""What each line of data counts beside its bytes: room is needed for an empty one too."""
_FIELDS = (b"data:", b"event:")
_FIELD = max(map(len, _FIELDS))


@dataclass(slots=True)
class ServerSentEvent:
    """One server-sent event. `retry`: the pause before a new connection that the server asked for last (milliseconds)."""

    name: str = "message"
    data: bytes = b""
    id: str | None = None
    retry: int | None = None

    @property
    def text(self) -> str:
        """Its data as the standard decodes it."""
        return self.data.decode(errors="replace")


def shown(size: int) -> str:
    """A bound as it is told: `24 MiB`, `100 bytes`."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"


class EventParser:
    """Cuts bytes into server-sent events. An event of more than `limit` bytes, or a line of so many, raises `HttpFailed`.

    Work and memory are linear in what comes, however it is cut.
    """

    def __init__(self, limit: int = ANSWER_LIMIT) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        """Pieces of the line that is not whole."""
        self._size = 0
        """Bytes of that line and of the data of the event so far."""
        self._skip_lf = False
        self._first = True
        self._event = ServerSentEvent()
        self._data: list[bytes] = []
        self.retry: int | None = None

    def feed(self, part: bytes) -> list[ServerSentEvent]:
        """The events that are complete after `part`. Raises `HttpFailed`."""
        if not part:
            return []
        if self._skip_lf and part.startswith(b"\n"):
            part = part[1:]
        self._skip_lf = part.endswith(b"\r") if part else False
        if b"\r" in part:
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = part.split(b"\n")
        found: list[ServerSentEvent] = []
        for line in lines:
            if self._rest:
                self._keep(line)
                line, self._rest = b"".join(self._rest), []  # noqa: PLW2901
                self._size -= len(line)
            elif self._size + len(line) > self._limit:
                self._grow(len(line))
            if (event := self._line(line)) is not None:
                found.append(event)
        self._keep(rest)
        return found

    @property
    def begun(self) -> bool:
        """Whether an event with data has begun, and is not whole; no comment, which keeps the connection alive."""
        head = b"".join(self._rest[:_FIELD])[:_FIELD]
        return bool(self._data) or any(head[: len(name)] == name[: len(head)] for name in _FIELDS if head)

    def _keep(self, piece: bytes) -> None:
        """Bytes of a line whose end has not come."""
        if piece:
            self._rest.append(piece)
            self._grow(len(piece))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise HttpFailed(
                f"one event of the stream is larger than {shown(self._limit)}", Symptom.TOO_LARGE, connected=True, sent=True
            )

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if self._first:
            self._first = False
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line:
            return self._end()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._grow(len(value) + LINE_COST)
        elif name == b"event":
            self._event.name = value.decode(errors="replace") or "message"
        elif name == b"id" and b"\0" not in value:
            self._event.id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)
        return None

    def _end(self) -> ServerSentEvent | None:
        """An empty line: the event is whole. One without data is none, as the standard says."""
        event, self._event = self._event, ServerSentEvent()
        data, self._data = self._data, []
        self._size = 0
        if not data:
            return None
        event.data = b"\n".join(data)
        event.retry = self.retry
        return event
