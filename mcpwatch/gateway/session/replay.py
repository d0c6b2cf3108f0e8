"""What a client was sent on the streams of one session, kept for a while, so that a cut one can be taken up: ADR 0012.

Owns event ids, and the bounds of what is kept. Pure. Must not know streams, sockets or messages.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

STANDALONE = 0
"""The stream for what belongs to no request."""
EVENTS, BYTES, SECONDS = 256, 1024 * 1024, 120.0
"""What is kept of one session at most; the oldest goes first. The newest event is kept whatever its size."""


class EventGone(Exception):
    """What came after this event is not kept (any more)."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event: its stream, its number in the session, the one before it on its stream (0: none), when it was sent (seconds)."""

    stream: int
    number: int
    prior: int
    at: float
    data: bytes


class Replay:
    """The events of one session, oldest first."""

    __slots__ = ("_bytes", "_closed", "_kept", "_last", "_number", "_stream")

    def __init__(self) -> None:
        self._number, self._stream = 0, STANDALONE
        self._kept: deque[StoredEvent] = deque()
        self._bytes = 0
        self._last: dict[int, int] = {STANDALONE: 0}
        self._closed: set[int] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def open(self) -> int:
        """A new stream."""
        self._stream += 1
        return self._stream

    def add(self, stream: int, data: bytes, now: float) -> int:
        """Keep one event; its number."""
        self._number = number = self._number + 1
        self._kept.append(StoredEvent(stream, number, self._last.get(stream, 0), now, data))
        self._last[stream] = number
        self._bytes += len(data)
        while len(self._kept) > EVENTS or (self._bytes > BYTES and len(self._kept) > 1):
            self._evict()
        return number

    def close(self, stream: int) -> None:
        """Nothing follows on this stream; it is forgotten with its last event."""
        self._closed.add(stream)
        self._forget(stream)

    def after(self, stream: int, number: int) -> list[StoredEvent]:
        """What was said after this event on its stream. Raises `EventGone` when that is not known in full."""
        last = self._last.get(stream, -1)
        found = [kept for kept in self._kept if kept.stream == stream and kept.number > number]
        if number > last or (found[0].prior if found else last) > number:
            raise EventGone
        return [kept for kept in found if kept.data]

    def expire(self, now: float) -> None:
        """Forget what was sent long ago."""
        while self._kept and self._kept[0].at <= now - SECONDS:
            self._evict()

    def _evict(self) -> None:
        kept = self._kept.popleft()
        self._bytes -= len(kept.data)
        self._forget(kept.stream)

    def _forget(self, stream: int) -> None:
        oldest = self._kept[0].number if self._kept else None
        if stream in self._closed and (oldest is None or self._last.get(stream, 0) < oldest):
            self._closed.discard(stream)
            self._last.pop(stream, None)


def frame(stream: int, number: int, data: bytes, retry: int | None = None) -> bytes:
    """An event as it is on the wire; one without data only tells its id, and when to come back (`retry`, milliseconds)."""
    wait = b"" if retry is None else b"retry: %d\r\n" % retry
    return b"id: %d-%d\r\n%bevent: message\r\ndata: %b\r\n\r\n" % (stream, number, wait, data)


def parse(event_id: bytes) -> tuple[int, int] | None:
    """Stream and number of a `Last-Event-ID`; `None` when it is none of ours."""
    stream, _, number = event_id.partition(b"-")
    if not (stream.isdigit() and number.isdigit() and len(event_id) <= 40):
        return None
    return int(stream), int(number)
