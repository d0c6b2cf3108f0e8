"""What members ask of clients: to whom a question goes, and whose answer it gets.

Owns the ids of questions and the wait for a question's cause. Must not know HTTP, processes or restarts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from mcpwatch.gateway.protocol import json_edit, message, translation
from mcpwatch.gateway.protocol.call import PART, Call, Peer, PeerState, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.request_ids import number_of

ASK_HOLD = 5.0
"""Seconds that a question of a shared member waits until it is clear which session caused it."""
HELD, HELD_BYTES = 64, 1024 * 1024
"""Questions of a link that may wait so, and their bytes; one more is refused."""
OPEN = 256
"""Questions that one client may have to answer at once; one more is refused."""
WAIT_LIMIT = 600.0
"""Seconds that a client may think about a question which is asked in rounds."""
NEEDS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""Questions, and the capability that a client must have to be asked."""

_numbers = itertools.count(1)
"""Questions of all links share one count, because a session on several links answers all of them."""


@dataclass(slots=True)
class HeldQuestion:
    """A question that waits for its cause: the calls that were on their way when it came."""

    data: bytes
    envelope: Envelope
    suspects: set[int]
    until: float


@dataclass(slots=True)
class Ask:
    """A question that a client is answering: the member's own id of it, or what else takes the answer."""

    peer: Peer
    raw_id: bytes
    take: Callable[[bytes], None] | None = None
    token: bytes | None = None
    """The member's progress token in it, as it was written."""


class Questions:
    """The questions of one link. `calls` and `places` are the link's own; `send` writes one message upstream."""

    def __init__(
        self, send: Callable[[bytes], object], calls: Callable[[], dict[int, Call]], places: dict[Peer, PeerState]
    ) -> None:
        self._send = send
        self._calls = calls
        self._places = places
        self._asks: dict[int, Ask] = {}
        self._held: list[HeldQuestion] = []

    @property
    def waiting(self) -> bool:
        """Whether the member waits for what a client answers that is there."""
        return any(ask.take is None and ask.peer.attended for ask in self._asks.values())

    def take(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        """A question came; `related` is the request whose stream it came on, where the wire says so."""
        assert isinstance(envelope.id, Raw)
        if envelope.method == "ping":
            self._send(message.result(bytes(envelope.id), b"{}"))
            return
        calls = self._calls()
        call = calls.get(related) if related is not None else None
        if call is not None:
            self._ask(data, envelope, call.peer, call)
            return
        suspects = {number: call for number, call in calls.items() if call.peer in self._places}
        owners = {id(call.peer) for call in suspects.values()}
        if len(owners) == 1:
            cause = list(suspects.values())[-1]
            self._ask(data, envelope, cause.peer, cause)
        elif not owners and len(self._places) == 1:
            self._ask(data, envelope, next(iter(self._places)), None)
        elif not owners:
            self._reject(envelope, "no session is waiting for this member")
        elif len(self._held) >= HELD or len(data) + sum(len(held.data) for held in self._held) > HELD_BYTES:
            self._reject(envelope, "too many questions wait until it is clear which session caused them")
        else:
            self._held.append(HeldQuestion(data, envelope, set(suspects), time.monotonic() + ASK_HOLD))

    def ask(self, peer: Peer, sink: Sink, body: bytes, take: Callable[[bytes], None]) -> int:
        """Ask a client something for another request's sake; `take` gets its whole answer. Returns the number of the question.

        `body` is the question from its method on: `"method":...,"params":...`.
        """
        number = self._enter(Ask(peer, b"", take))
        sink.deliver(b'{"jsonrpc":"2.0","id":%d,%b}' % (number, body), PART)
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        ask = self._asks.pop(number, None)
        if ask is not None and (place := self._places.get(ask.peer)):
            place.asks.discard(number)

    def respond(self, peer: Peer, envelope: Envelope, data: bytes) -> bool:
        """A client answered. False when there is no such question on this link."""
        assert isinstance(envelope.id, Raw)
        raw = bytes(envelope.id)
        number = number_of(raw)
        ask = self._asks.get(number) if number is not None else None
        if number is None or ask is None or ask.peer is not peer:
            return False
        self.forget(number)
        if ask.take is not None:
            ask.take(data)
        else:
            self._send(message.one_line(message.with_id(data, raw, ask.raw_id)))
        return True

    def reports(self, peer: Peer, envelope: Envelope) -> bool:
        """Whether a client's progress notification belongs to a question that it is answering."""
        params = envelope.params
        if not isinstance(params, message.Params) or not isinstance(params.progress_token, Raw):
            return False
        token = bytes(params.progress_token)
        return any(ask.peer is peer and ask.token == token for ask in self._asks.values())

    def withdraw(self, raw: bytes, data: bytes) -> None:
        """The member cancels its question."""
        for number, ask in list(self._asks.items()):
            if ask.raw_id == raw:
                ask.peer.push(json_edit.with_value(data, ("params", "requestId"), b"%d" % number))
                self.forget(number)  # a client does not answer what was cancelled

    def settle(self, number: int) -> None:
        """A call ended: it cannot be what a held question waits for."""
        for held in list(self._held) if self._held else ():
            held.suspects.discard(number)
            calls = self._calls()
            left = [calls[item] for item in held.suspects if item in calls]
            if len({id(call.peer) for call in left}) == 1:
                self._held.remove(held)
                self._ask(held.data, held.envelope, left[-1].peer, left[-1])
            elif not left:
                self._held.remove(held)
                self._reject(held.envelope, "the session that caused this request is gone")

    def leave(self, place: PeerState) -> None:
        """A session is over: what it was asked is answered with an error."""
        for number in list(place.asks):
            ask = self._asks.pop(number, None)
            if ask is None:
                continue
            gone = message.error(ask.raw_id or b"0", message.INTERNAL_ERROR, "the client went away")
            if ask.take is not None:
                ask.take(gone)
            else:
                self._send(gone)

    def lost(self) -> None:
        """The member is gone: it waits for no answers; the gateway itself may."""
        self._asks = {number: ask for number, ask in self._asks.items() if ask.take is not None}
        self._held.clear()
        for place in self._places.values():
            place.asks.intersection_update(self._asks)

    def expire(self, now: float) -> None:
        """Refuse what was held too long."""
        for held in [held for held in self._held if held.until <= now]:
            self._held.remove(held)
            self._reject(held.envelope, "cannot tell which of several sessions caused this request; set sessions: isolated")

    def _ask(self, data: bytes, envelope: Envelope, peer: Peer, cause: Call | None) -> None:
        assert isinstance(envelope.id, Raw)
        needed = NEEDS.get(str(envelope.method))
        if needed is not None and needed not in peer.capabilities:
            self._reject(envelope, f"the client does not support {needed}")
            return
        place = self._places.get(peer)
        if place is not None and len(place.asks) >= OPEN:
            self._reject(envelope, f"the client has {OPEN} questions to answer already")
            return
        raw = bytes(envelope.id)
        number = self._enter(Ask(peer, raw, token=translation.progress_token(envelope)))
        out = message.with_id(data, raw, b"%d" % number)
        if cause is not None:
            cause.sink.deliver(out, PART)
        else:
            peer.push(out)

    def _enter(self, ask: Ask) -> int:
        number = next(_numbers)
        self._asks[number] = ask
        if place := self._places.get(ask.peer):
            place.asks.add(number)
        return number

    def _reject(self, envelope: Envelope, reason: str) -> None:
        assert isinstance(envelope.id, Raw)
        self._send(message.error(bytes(envelope.id), message.METHOD_NOT_FOUND, f"{envelope.method}: {reason}"))
