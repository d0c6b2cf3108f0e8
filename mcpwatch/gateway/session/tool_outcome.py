"""What became of a tool call: counted for the member's owner, from the answer's bytes alone. Pure but for the counters it is given.

A call counts when it is answered, by the member or, where that is down, by the gateway; one that its client gave up counts nothing.
It failed when the answer is a JSON-RPC error or a result with `isError`, whatever its cause. Must not know wires or members.
"""

from __future__ import annotations

import re
from typing import Self

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from mcpwatch.gateway.protocol.call import FINAL, Delivery, Sink
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.sse import EventParser

_FLAG = re.compile(rb'"isError"\s*:\s*true')


class _Result(Struct, gc=False):
    failed: bool | UnsetType = field(default=UNSET, name="isError")
    kind: str | UnsetType = field(default=UNSET, name="resultType")


class _Answer(Struct, gc=False):
    id: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    result: _Result | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Answer)


class Refusals:
    """Around the sending of a tool call: counts one that fails because its member is down. Counts nothing without counters."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Counts | None) -> None:
        self._counts = counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is UpstreamUnavailable and self._counts is not None:
            self._counts.tool_calls += 1
            self._counts.tool_errors += 1


class CountedCall(Refusals):
    """The sink of a tool call: counts its answer and hands everything on."""

    __slots__ = ("_answered", "_sink")

    def __init__(self, sink: Sink, counts: Counts) -> None:
        super().__init__(counts)
        self._sink = sink
        self._answered = counts

    def deliver(self, data: bytes, share: Delivery) -> None:
        """One message."""
        if share == FINAL and data:
            count(data, self._answered)
        self._sink.deliver(data, share)


class CountedStream:
    """Counts the answer of a tool call in an event stream that is passed on as it is."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._events = EventParser()
        self._broken = False
        self.answered = False
        """Whether an answer was counted."""

    def feed(self, part: bytes) -> None:
        """The next bytes. From an event that is too long for us on, nothing is counted: what is passed on is not ours to cut."""
        if self._broken:
            return
        try:
            for event in self._events.feed(part):
                if event.data and is_answer(event.data):
                    count(event.data, self._counts)
                    self._counts.lately.note(tool=True)
                    self.answered = True
        except HttpFailed:
            self._broken = True


def count(answer: bytes, counts: Counts) -> None:
    """Count one whole answer; one that asks its client for more input is none yet."""
    if _FLAG.search(answer) is None and b'"error"' not in answer and b"input_required" not in answer:
        counts.tool_calls += 1
        return
    try:
        found = _decoder.decode(answer)
    except msgspec.MsgspecError:
        counts.tool_calls += 1
        counts.tool_errors += _FLAG.search(answer) is not None
        return
    result = found.result if isinstance(found.result, _Result) else _Result()
    if result.kind == "input_required":
        return
    counts.tool_calls += 1
    counts.tool_errors += result.failed is True or (isinstance(found.error, Raw) and bytes(found.error) != b"null")


def is_answer(data: bytes) -> bool:
    """Whether a message of an upstream is the answer to a request, not a notification or a question."""
    try:
        found = _decoder.decode(data)
    except msgspec.MsgspecError:
        return False
    return found.error is not UNSET or found.result is not UNSET
