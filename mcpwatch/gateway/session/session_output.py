"""The way back to one client: the stream for what belongs to no request, and the answers that are streams of their own.

Owns what waits while no stream is open, and what is kept for streams that are cut. Must not know members or HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from mcpwatch.gateway.http.http_exchange import OpenStream
from mcpwatch.gateway.protocol.call import FINAL, SUSPENDED, Delivery
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.replay import STANDALONE, EventGone, Replay, frame

NO_STREAM = -1
"""The number of an answer that is no stream (yet)."""
AWAY = 10.0
"""Seconds without a stream or a request after which the client of a session is not there: one that polls comes back sooner."""
UNSENT_MESSAGES, UNSENT_BYTES = 256, 1024 * 1024
"""What is kept for a client that has no stream open; the oldest goes first and is counted."""


class SessionOutput:
    """What a client session is made of, seen from its client. `resumable`: events carry ids and are kept, for Streamable HTTP."""

    __slots__ = (
        "__weakref__", "_replay", "_streams", "_unsent", "_unsent_bytes", "_writes", "checking", "dropped", "open", "pipes",
        "resumable", "seen", "version", "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.resumable = False
        self.checking = False
        self.open = 0
        """How many requests and streams of it are open."""
        self.seen = time.monotonic()
        """When it was last used (monotonic seconds)."""
        self.whole: SessionOutput | None = None
        """The session on several members that it is a part of."""
        self.version = ""
        """The protocol version that was agreed, empty before."""
        self.dropped = 0
        self._replay: Replay | None = None
        self.pipes: set[OpenStream] = set()
        """Streams that are open now, whatever they carry."""
        self._streams: dict[ResponseStream, None] = {}
        """Answers under way, in their order."""
        self._writes: list[Callable[[bytes], None]] = []
        self._unsent: deque[bytes] | None = None
        self._unsent_bytes = 0

    @property
    def attended(self) -> bool:
        """Whether its client is there: a stream or a request of it is open, or was a moment ago; of a part, of the whole."""
        whole = self.whole or self
        return whole.open > 0 or time.monotonic() - whole.seen < AWAY

    @property
    def replay(self) -> Replay:
        """What it was sent on its streams; made when it is first asked for, because most sessions have none."""
        if self._replay is None:
            self._replay = Replay()
        return self._replay

    def expire(self, now: float) -> None:
        """Forget what was sent long ago (`now`: monotonic seconds)."""
        if self._replay is not None:
            self._replay.expire(now)

    def push(self, data: bytes) -> None:
        """Send the client a message that belongs to no request."""
        out = frame(STANDALONE, self.replay.add(STANDALONE, data, time.monotonic()), data) if self.resumable else data
        if self._writes:
            self._writes[-1](out)
            return
        unsent = self._unsent = self._unsent or deque()
        unsent.append(out)
        self._unsent_bytes += len(out)
        while len(unsent) > UNSENT_MESSAGES or self._unsent_bytes > UNSENT_BYTES:
            self._unsent_bytes -= len(unsent.popleft())
            self.dropped += 1

    def deliver(self, data: bytes, share: Delivery) -> None:
        """On the legacy wire everything goes back on the one stream."""
        if data and share != SUSPENDED:
            self.push(data)

    def connect(self, write: Callable[[bytes], None], after: int | None = None) -> None:
        """A stream to the client is open: what waited goes out first, or all that came after event `after`."""
        self._writes.append(write)
        waiting: list[bytes] = list(self._unsent or ())
        if after is not None:
            with suppress(EventGone):  # then what is left is better than nothing: this stream is no answer to anything
                waiting = [frame(STANDALONE, kept.number, kept.data) for kept in self.replay.after(STANDALONE, after)]
        self._unsent, self._unsent_bytes = None, 0
        for out in waiting:
            write(out)

    def disconnect(self, write: Callable[[bytes], None]) -> None:
        """That stream is gone."""
        if write in self._writes:
            self._writes.remove(write)

    def response_stream(self, *, polls: bool = False) -> ResponseStream:
        """The way of one answer. `polls`: the client takes up a stream that ends before the answer."""
        return ResponseStream(self, self._streams, polls)

    def taken_up(self, stream: int) -> ResponseStream | None:
        """The answer that is still under way on this stream."""
        return next((one for one in self._streams if one.stream == stream), None)

    def end(self) -> Coroutine[Any, Any, None] | None:
        """The session is over; what of that has to be waited for, if anything."""
        self.finish()

    async def close(self) -> None:
        """The session is over, and all that has to be waited for."""
        rest = self.end()
        if rest is not None:
            await rest

    def finish(self) -> None:
        """The session is over: no answer comes any more."""
        for one in list(self._streams):
            one.abandon()
        for pipe in list(self.pipes):
            pipe.end("closed")


class ResponseStream(Exchange):
    """The answer to one POST in a session: whole, or a stream that can be taken up again when it was cut or has ended early."""

    __slots__ = ("_output", "_pipe", "_polls", "_retry", "_streams", "stream")

    def __init__(self, output: SessionOutput, streams: dict[ResponseStream, None], polls: bool) -> None:
        super().__init__()
        self._output = output
        self._streams = streams
        self.stream = NO_STREAM
        """The number of its stream, once it is one."""
        self._pipe: OpenStream | None = None
        self._polls = polls
        self._retry: int | None = None
        streams[self] = None

    def deliver(self, data: bytes, share: Delivery) -> None:
        """One more message: to whoever waits for it, or as an event once the answer is a stream."""
        if share == SUSPENDED:
            self._suspend(int(data))
            return
        if share == FINAL:
            self._streams.pop(self, None)
        if self.stream == NO_STREAM:
            super().deliver(data, share)
            return
        if data:
            self._event(data)
        if share == FINAL:
            self._end()

    def begin(self, pipe: OpenStream, messages: list[bytes], *, prime: bool) -> None:
        """Be a stream from now on. `prime`: tell an event id before there is anything to say."""
        self._pipe = pipe
        self.stream = self._output.replay.open()
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
        events = self._output.replay.after(self.stream, after)
        if self._pipe is not None:
            self._pipe.end("taken up")
        self._pipe = pipe
        for kept in events:
            pipe.raw(frame(kept.stream, kept.number, kept.data))

    def _suspend(self, retry: int) -> None:
        """End the stream before the answer, as the upstream did, for a client that comes back after `retry` milliseconds."""
        if not self._polls:
            return
        if self.stream == NO_STREAM:
            self._retry = retry
            self.wake()
            return
        self._retry = None
        if self._pipe is not None:
            number = self._output.replay.add(self.stream, b"", time.monotonic())
            self._pipe.raw(frame(self.stream, number, b"", retry))
            self._pipe.end("suspended")
            self._pipe = None

    def _event(self, data: bytes) -> None:
        number = self._output.replay.add(self.stream, data, time.monotonic())
        if self._pipe is not None:
            self._pipe.raw(frame(self.stream, number, data))

    def _end(self) -> None:
        self.done = True
        self._output.replay.close(self.stream)
        if self._pipe is not None:
            self._pipe.end("done")
