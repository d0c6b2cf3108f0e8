"""The way back to one client: the stream for what belongs to no request, and the answers that are streams of their own.

Owns what waits while no stream is open, and what is kept for streams that are cut. Must not know members or HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mcpwatch.gateway.http.http_exchange import OpenStream
from mcpwatch.gateway.protocol.call import FINAL, SUSPENDED, Delivery
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.replay import STANDALONE, EventGone, Replay, frame

UNSENT_MESSAGES, UNSENT_BYTES = 256, 1024 * 1024
"""What is kept for a client that has no stream open; the oldest goes first and is counted."""


class SessionOutput:
    """What a client session is made of, seen from its client. `resumable`: events carry ids and are kept, for Streamable HTTP."""

    def __init__(self) -> None:
        self.resumable = False
        self.checking = False
        self.version = ""
        """The protocol version that was agreed, empty before."""
        self.dropped = 0
        self.replay = Replay()
        self.pipes: set[OpenStream] = set()
        """Streams that are open now, whatever they carry."""
        self._courses: dict[int, ResponseStream] = {}
        self._writes: list[Callable[[bytes], None]] = []
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0

    def push(self, data: bytes) -> None:
        """Send the client a message that belongs to no request."""
        out = frame(STANDALONE, self.replay.add(STANDALONE, data, time.monotonic()), data) if self.resumable else data
        if self._writes:
            self._writes[-1](out)
            return
        self._unsent.append(out)
        self._unsent_bytes += len(out)
        while len(self._unsent) > UNSENT_MESSAGES or self._unsent_bytes > UNSENT_BYTES:
            self._unsent_bytes -= len(self._unsent.popleft())
            self.dropped += 1

    def deliver(self, data: bytes, share: Delivery) -> None:
        """On the legacy wire everything goes back on the one stream."""
        if data and share != SUSPENDED:
            self.push(data)

    def connect(self, write: Callable[[bytes], None], after: int | None = None) -> None:
        """A stream to the client is open: what waited goes out first, or all that came after event `after`."""
        self._writes.append(write)
        waiting = list(self._unsent)
        if after is not None:
            with suppress(EventGone):  # then what is left is better than nothing: this stream is no answer to anything
                waiting = [frame(STANDALONE, kept.number, kept.data) for kept in self.replay.after(STANDALONE, after)]
        self._unsent.clear()
        self._unsent_bytes = 0
        for out in waiting:
            write(out)

    def disconnect(self, write: Callable[[bytes], None]) -> None:
        """That stream is gone."""
        if write in self._writes:
            self._writes.remove(write)

    def course(self, *, polls: bool = False) -> ResponseStream:
        """The way of one answer. `polls`: the client takes up a stream that ends before the answer."""
        return ResponseStream(self.replay, self._courses, polls=polls)

    def taken_up(self, stream: int) -> ResponseStream | None:
        """The answer that is still under way on this stream."""
        return self._courses.get(stream)

    def finish(self) -> None:
        """The session is over: no answer comes any more."""
        for course in list(self._courses.values()):
            course.abandon()
        for pipe in list(self.pipes):
            pipe.end("closed")


class ResponseStream(Exchange):
    """The answer to one POST in a session: whole, or a stream that can be taken up again when it was cut or has ended early."""

    __slots__ = ("_begun", "_courses", "_pipe", "_polls", "_replay", "_retry", "_stream")

    def __init__(self, replay: Replay, courses: dict[int, ResponseStream], *, polls: bool = False) -> None:
        super().__init__()
        self._replay = replay
        self._courses = courses
        self._stream = replay.open()
        self._pipe: OpenStream | None = None
        self._begun = False
        self._polls = polls
        self._retry: int | None = None
        courses[self._stream] = self

    def deliver(self, data: bytes, share: Delivery) -> None:
        """One more message: to whoever waits for it, or as an event once the answer is a stream."""
        if share == SUSPENDED:
            self._suspend(int(data))
            return
        if self._stream in self._courses and share == FINAL:
            del self._courses[self._stream]
        if not self._begun:
            super().deliver(data, share)
            return
        if data:
            self._event(data)
        if share == FINAL:
            self._end()

    @property
    def streaming(self) -> bool:
        """Whether the answer is a stream."""
        return self._begun

    def begin(self, pipe: OpenStream, messages: list[bytes], *, prime: bool) -> None:
        """Be a stream from now on. `prime`: tell an event id before there is anything to say."""
        self._pipe = pipe
        self._begun = True
        if prime and not messages:
            self._event(b"")
        for data in messages:
            self._event(data)
        if self.done:
            self._end()
        elif self._retry is not None:
            self._suspend(self._retry)

    def go_on(self, pipe: OpenStream, after: int) -> None:
        """Be carried by another stream, from behind event `after`. Raises `EventGone`."""
        events = self._replay.after(self._stream, after)
        if self._pipe is not None:
            self._pipe.end("taken up")
        self._pipe = pipe
        self._begun = True
        for kept in events:
            pipe.raw(frame(kept.stream, kept.number, kept.data))

    def _suspend(self, retry: int) -> None:
        """End the stream before the answer, as the upstream did, for a client that comes back after `retry` milliseconds."""
        if not self._polls:
            return
        if not self._begun:
            self._retry = retry
            self.wake()
            return
        self._retry = None
        if self._pipe is not None:
            self._pipe.raw(frame(self._stream, self._replay.add(self._stream, b"", time.monotonic()), b"", retry))
            self._pipe.end("suspended")
            self._pipe = None

    def _event(self, data: bytes) -> None:
        number = self._replay.add(self._stream, data, time.monotonic())
        if self._pipe is not None:
            self._pipe.raw(frame(self._stream, number, data))

    def _end(self) -> None:
        self.done = True
        self._replay.close(self._stream)
        if self._pipe is not None:
            self._pipe.end("done")
