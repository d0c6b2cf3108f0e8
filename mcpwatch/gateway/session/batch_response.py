"""A client's batch on its way: each message goes its own way, the answers come back as one array.

Owns the gathering. Must not know wires or members.
"""

from __future__ import annotations

from msgspec import UNSET, Raw

from mcpwatch.gateway.protocol import message, reading
from mcpwatch.gateway.protocol.call import FINAL, PART, Delivery, Sink
from mcpwatch.gateway.protocol.message import Envelope, Malformed
from mcpwatch.gateway.session.target import ClientSession
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable


class BatchResponse:
    """One batch: `sink` gets what comes in between, and at last all answers as one array."""

    def __init__(self, items: list[bytes], sink: Sink) -> None:
        self._items = items
        self._sink = sink
        self._answers: dict[int, bytes] = {}
        self._open: set[int] = set()
        self._given = False

    async def give(self, session: ClientSession) -> bool:
        """Give every message to a session, in order. Whether there is anything to answer."""
        requests = 0
        for place, item in enumerate(self._items):
            sink = _Place(self, place)
            self._open.add(place)
            try:
                envelope = reading.of_client(item)
            except Malformed as error:
                envelope = Envelope()
                requests += 1
                sink.deliver(message.error(None, message.INVALID_REQUEST, f"this is no message: {error}"), FINAL)
                continue
            is_request = envelope.id is not UNSET and envelope.method is not UNSET
            requests += is_request
            await _give_one(session, item, envelope, sink)
            if not is_request:
                sink.deliver(b"", FINAL)
        self._given = True
        self._finish()
        return requests > 0

    def take(self, place: int, data: bytes, share: Delivery) -> None:
        """Something came for one of the requests."""
        if share == PART:
            self._sink.deliver(data, PART)
        elif share == FINAL and place in self._open:
            self._open.discard(place)
            if data:
                self._answers[place] = data
            self._finish()

    def _finish(self) -> None:
        if self._given and not self._open:
            answers = [self._answers[place] for place in sorted(self._answers)]
            self._sink.deliver(b"[" + b",".join(answers) + b"]" if answers else b"", FINAL)


class _Place:
    """The sink of one request of a batch."""

    def __init__(self, batch: BatchResponse, place: int) -> None:
        self._batch, self._place = batch, place

    def deliver(self, data: bytes, share: Delivery) -> None:
        self._batch.take(self._place, data, share)


async def _give_one(session: ClientSession, item: bytes, envelope: Envelope, sink: Sink) -> None:
    raw_id = bytes(envelope.id) if isinstance(envelope.id, Raw) else None
    if envelope.method == "initialize":
        sink.deliver(message.error(raw_id, message.INVALID_REQUEST, "initialize must not be part of a batch"), FINAL)
        return
    try:
        await session.take(item, envelope, sink)
    except UpstreamUnavailable as down:
        sink.deliver(down.error(raw_id), FINAL)
