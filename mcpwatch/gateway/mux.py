"""Several client sessions on one upstream link: who asked what, and to whom an answer, a notification or a question belongs.

Owns ids, progress tokens, subscriptions and log levels on one link. Must not know HTTP, processes or restarts.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from msgspec import UNSET, Raw

from mcpwatch.gateway import message
from mcpwatch.gateway.message import Envelope

CANCELLED_LINGER = 30.0
"""Seconds that a cancelled call may still be answered."""
ASK_HOLD = 5.0
"""Seconds that a question of a shared member waits until it is clear which session caused it."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

Share = Literal["part", "final"]
PART: Share = "part"
FINAL: Share = "final"

log = logging.getLogger("mcpwatch.gateway")


class Sink(Protocol):
    """Takes what belongs to one request: its notifications and questions, and at last its answer."""

    def deliver(self, data: bytes, share: Share) -> None:
        """One message. After `FINAL` nothing follows; empty data then ends the request without an answer."""
        ...


class Peer(Protocol):
    """A client session, as a link sees it."""

    id: str
    capabilities: frozenset[str]

    def push(self, data: bytes) -> None:
        """A message that belongs to no request of the session."""
        ...


@dataclass(slots=True)
class Call:
    """One request on its way: whose it is, the id it came with, and where its answer goes."""

    number: int
    peer: Peer
    raw_id: bytes
    sink: Sink
    method: str
    token: bytes | None
    until: float
    out: bytes = b""
    position: int = 0


@dataclass(slots=True)
class Held:
    """A question that waits for its cause: the calls that were on their way when it came."""

    data: bytes
    envelope: Envelope
    suspects: set[int]
    until: float


@dataclass(slots=True)
class Ask:
    """A server's question that a client is answering."""

    peer: Peer
    raw_id: bytes
    number: int


@dataclass(slots=True)
class Place:
    """What one session has on this link."""

    calls: dict[bytes, int] = field(default_factory=dict[bytes, int])
    asks: set[int] = field(default_factory=set[int])
    uris: set[bytes] = field(default_factory=set[bytes])
    level: int = 0


class Mux:
    """Sessions on one link. `send` writes one message upstream and says where in the link's stream it ends, 0 when it could not."""

    def __init__(self, name: str, send: Callable[[bytes, int | None], int], call_limit: float) -> None:
        self._name = name
        self._send = send
        self._call_limit = call_limit
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._asks: dict[int, Ask] = {}
        self._unread: list[Call] = []
        self._held: list[Held] = []
        self._places: dict[Peer, Place] = {}
        self._level = -1
        self.unmatched = 0
        self.sent = 0

    # --- sessions ---

    def attach(self, peer: Peer) -> None:
        """Let a session use this link."""
        self._places.setdefault(peer, Place())

    def detach(self, peer: Peer) -> None:
        """A session is over: cancel what it still waits for, forget what it subscribed to."""
        place = self._places.pop(peer, None)
        if place is None:
            return
        for number in list(place.calls.values()):
            if self._calls.pop(number, None):
                self._send(message.notification("notifications/cancelled", {"requestId": number, "reason": "session closed"}), None)
                self._settle(number)
        for number in place.asks:
            ask = self._asks.pop(number, None)
            if ask:
                self._send(message.error(ask.raw_id, message.INTERNAL_ERROR, "the client went away"), None)
        for uri in place.uris:
            self._unsubscribe(uri)

    @property
    def peers(self) -> int:
        """How many sessions are attached."""
        return len(self._places)

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        return len(self._calls)

    # --- from a client ---

    def request(self, peer: Peer, envelope: Envelope, data: bytes, sink: Sink) -> int:
        """Forward a request under a number of this link; the answer reaches `sink`. 0 when it could not be sent."""
        assert isinstance(envelope.id, Raw)
        assert isinstance(envelope.method, str)
        raw_id = bytes(envelope.id)
        number = next(self._numbers)
        token = self._token(envelope)
        method = envelope.method
        call = Call(number, peer, raw_id, sink, method, token, time.monotonic() + self._call_limit)
        place = self._places.get(peer)
        if place is not None and method in _LOCAL and self._answer_here(place, call, data):
            return number
        fresh = b"%d" % number
        out = message.with_id(data, raw_id, fresh)
        if token is not None:
            out = message.with_value(out, ("params", "_meta", "progressToken"), fresh)
        self._calls[number] = call
        if place is not None:
            place.calls[raw_id] = number
        self.sent += 1
        call.out = message.one_line(out)
        call.position = self._send(call.out, number)
        if not call.position:
            self._finish(number)
            return 0
        return number

    def notify(self, peer: Peer, envelope: Envelope, data: bytes) -> None:
        """Forward a client's notification."""
        if envelope.method == "notifications/cancelled":
            self._cancel(peer, envelope, data)
        else:
            self._send(message.one_line(data), None)

    def cancel(self, number: int, reason: str) -> None:
        """The client of a request went away, on a wire where that ends it."""
        if self._finish(number):
            self._send(message.notification("notifications/cancelled", {"requestId": number, "reason": reason}), None)

    def respond(self, peer: Peer, envelope: Envelope, data: bytes) -> bool:
        """A client answered a question of the member. False when there is no such question on this link."""
        assert isinstance(envelope.id, Raw)
        raw = bytes(envelope.id)
        number = int(raw) if raw.isdigit() else -1
        ask = self._asks.get(number)
        if ask is None or ask.peer is not peer:
            return False
        del self._asks[number]
        if place := self._places.get(peer):
            place.asks.discard(number)
        self._send(message.one_line(message.with_id(data, raw, ask.raw_id)), None)
        return True

    def refuse(self, envelope: Envelope, sink: Sink, reason: str) -> None:
        """Answer a request that could not be sent."""
        sink.deliver(self._refusal(bytes(envelope.id) if isinstance(envelope.id, Raw) else b"null", reason), FINAL)

    def own(self, method: str, params: dict[str, Any] | None, sink: Sink, peer: Peer, limit: float) -> int:
        """A request of the gateway's own on this link."""
        number = next(self._numbers)
        self._calls[number] = Call(number, peer, b"%d" % number, sink, method, None, time.monotonic() + limit)
        if not self._send(message.request(number, method, params), number):
            self._calls.pop(number, None)
            sink.deliver(self._refusal(b"%d" % number, "takes no more input"), FINAL)
        return number

    # --- from the member ---

    def receive(self, data: bytes, envelope: Envelope, related: int | None = None) -> None:
        """One message of the member; `related` is the request whose stream it came on, where the wire says so."""
        if envelope.method is UNSET:
            self._answer(data, envelope)
        elif envelope.id is UNSET:
            self._notification(data, envelope, related)
        else:
            self._question(data, envelope, related)

    def lost(self, reason: str, read: int | None = None) -> None:
        """The link is gone: every waiting request fails now, naming the member.

        `read` is how much of the link's stream the member had read, where that is known: a request that it never saw
        is kept for `resend`.
        """
        calls: list[Call] = []
        for call in self._calls.values():
            unread = read is not None and call.out and call.position - len(call.out) > read
            (self._unread if unread else calls).append(call)
        self._calls = {}
        self._asks.clear()
        self._held.clear()
        for place in self._places.values():
            place.calls.clear()
            place.asks.clear()
        for call in calls:
            call.sink.deliver(self._refusal(call.raw_id, reason), FINAL)

    def resend(self) -> None:
        """Send a fresh member what the last one never read."""
        calls, self._unread = self._unread, []
        for call in calls:
            self._calls[call.number] = call
            if place := self._places.get(call.peer):
                place.calls[call.raw_id] = call.number
            call.position = self._send(call.out, call.number)

    def give_up(self, reason: str) -> None:
        """There will be no fresh member soon: what was kept for it fails."""
        calls, self._unread = self._unread, []
        for call in calls:
            call.sink.deliver(self._refusal(call.raw_id, reason), FINAL)

    def restore(self) -> list[bytes]:
        """What a fresh member must be told again: subscriptions and the log level, as whole messages."""
        uris = {uri for place in self._places.values() for uri in place.uris}
        params = [("resources/subscribe", b'{"uri":' + uri + b"}") for uri in sorted(uris)]
        if self._level >= 0:
            params.append(("logging/setLevel", b'{"level":"' + LEVELS[self._level].encode() + b'"}'))
        return [
            b'{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}' % (next(self._numbers), method.encode(), body)
            for method, body in params
        ]

    def expire(self, now: float) -> None:
        """End what has waited past its bound."""
        for call in [call for call in self._calls.values() if call.until <= now]:
            self._finish(call.number)
            if call.method:
                self._send(message.notification("notifications/cancelled", {"requestId": call.number, "reason": "timeout"}), None)
                call.sink.deliver(self._refusal(call.raw_id, "did not answer in time"), FINAL)
            else:
                call.sink.deliver(b"", FINAL)
        for held in [held for held in self._held if held.until <= now]:
            self._held.remove(held)
            self._reject(held.envelope, "cannot tell which of several sessions caused this request; set sessions: isolated")

    # --- inside ---

    def _token(self, envelope: Envelope) -> bytes | None:
        params = envelope.params
        if not isinstance(params, message.Params) or not isinstance(params.meta, message.Meta):
            return None
        token = params.meta.progress_token
        return bytes(token) if isinstance(token, Raw) else None

    def _refusal(self, raw_id: bytes, reason: str) -> bytes:
        text = f"member {self._name!r} {reason}"
        return message.error(raw_id, message.MEMBER_DOWN, text, {"member": self._name, "reason": reason})

    def _finish(self, number: int) -> Call | None:
        call = self._calls.pop(number, None)
        if call is not None:
            place = self._places.get(call.peer)
            if place is not None and place.calls.get(call.raw_id) == number:
                del place.calls[call.raw_id]
            if self._held:
                self._settle(number)
        return call

    def _answer(self, data: bytes, envelope: Envelope) -> None:
        raw = bytes(envelope.id) if isinstance(envelope.id, Raw) else b""
        call = self._finish(int(raw)) if raw.isdigit() else None
        if call is None:
            self.unmatched += 1
            return
        call.sink.deliver(message.with_id(data, raw, call.raw_id), FINAL)

    def _notification(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        params = envelope.params if isinstance(envelope.params, message.Params) else None
        match envelope.method:
            case "notifications/progress" if params is not None and isinstance(params.progress_token, Raw):
                raw = bytes(params.progress_token)
                call = self._calls.get(int(raw)) if raw.isdigit() else None
                if call is not None and call.token is not None:
                    call.until = time.monotonic() + self._call_limit
                    call.sink.deliver(message.with_value(data, ("params", "progressToken"), call.token), PART)
            case "notifications/cancelled" if params is not None and isinstance(params.request_id, Raw):
                self._cancel_ask(data, bytes(params.request_id))
            case _ if params is not None and isinstance(params.meta, message.Meta) and isinstance(params.meta.subscription, Raw):
                self._changed(data, bytes(params.meta.subscription))
            case "notifications/resources/updated":
                uri = _uri(data)
                for peer, place in list(self._places.items()):
                    if uri in place.uris:
                        peer.push(data)
            case "notifications/message":
                self._tell(data, related)
            case _:
                self._broadcast(data, related)

    def _changed(self, data: bytes, raw: bytes) -> None:
        """What belongs to a `subscriptions/listen` request of the stateless wire."""
        call = self._calls.get(int(raw)) if raw.isdigit() else None
        if call is not None:
            call.sink.deliver(message.with_value(data, ("params", "_meta", message.SUBSCRIPTION), call.raw_id), PART)

    def _broadcast(self, data: bytes, related: int | None) -> None:
        call = self._calls.get(related) if related is not None else None
        if call is not None:
            call.sink.deliver(data, PART)
            return
        for peer in list(self._places):
            peer.push(data)

    def _tell(self, data: bytes, related: int | None) -> None:
        """A log message goes to the one request that can have caused it, else to every session that wants its level."""
        calls = self._calls
        call = calls.get(related) if related is not None else next(iter(calls.values())) if len(calls) == 1 else None
        if call is not None:
            call.sink.deliver(data, PART)
            return
        level = _level(data)
        for peer, place in list(self._places.items()):
            if level >= place.level:
                peer.push(data)

    def _question(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        assert isinstance(envelope.id, Raw)
        if envelope.method == "ping":
            self._send(message.result(bytes(envelope.id), b"{}"), None)
            return
        call = self._calls.get(related) if related is not None else None
        if call is not None:
            self._ask(data, envelope, call.peer, call)
            return
        suspects = {number: call for number, call in self._calls.items() if call.peer in self._places}
        owners = {id(call.peer) for call in suspects.values()}
        if len(owners) == 1:
            cause = list(suspects.values())[-1]
            self._ask(data, envelope, cause.peer, cause)
        elif not owners and len(self._places) == 1:
            self._ask(data, envelope, next(iter(self._places)), None)
        elif not owners:
            self._reject(envelope, "no session is waiting for this member")
        else:
            self._held.append(Held(data, envelope, set(suspects), time.monotonic() + ASK_HOLD))

    def _settle(self, number: int) -> None:
        """A call ended: it cannot be what a held question waits for."""
        for held in list(self._held):
            held.suspects.discard(number)
            left = [self._calls[item] for item in held.suspects if item in self._calls]
            if len({id(call.peer) for call in left}) == 1:
                self._held.remove(held)
                self._ask(held.data, held.envelope, left[-1].peer, left[-1])
            elif not left:
                self._held.remove(held)
                self._reject(held.envelope, "the session that caused this request is gone")

    def _ask(self, data: bytes, envelope: Envelope, peer: Peer, cause: Call | None) -> None:
        assert isinstance(envelope.id, Raw)
        needed = _NEEDS.get(str(envelope.method))
        if needed is not None and needed not in peer.capabilities:
            self._reject(envelope, f"the client does not support {needed}")
            return
        raw = bytes(envelope.id)
        number = next(_ask_numbers)
        self._asks[number] = Ask(peer, raw, number)
        if place := self._places.get(peer):
            place.asks.add(number)
        out = message.with_id(data, raw, b"%d" % number)
        if cause is not None:
            cause.sink.deliver(out, PART)
        else:
            peer.push(out)

    def _reject(self, envelope: Envelope, reason: str) -> None:
        assert isinstance(envelope.id, Raw)
        self._send(message.error(bytes(envelope.id), message.METHOD_NOT_FOUND, f"{envelope.method}: {reason}"), None)

    def _cancel(self, peer: Peer, envelope: Envelope, data: bytes) -> None:
        place = self._places.get(peer)
        params = envelope.params
        if place is None or not isinstance(params, message.Params) or not isinstance(params.request_id, Raw):
            return
        raw = bytes(params.request_id)
        number = place.calls.get(raw)
        call = self._calls.get(number) if number is not None else None
        if call is None:
            return
        call.until = min(call.until, time.monotonic() + CANCELLED_LINGER)
        call.method = ""
        self._send(message.one_line(message.with_value(data, ("params", "requestId"), b"%d" % call.number)), None)

    def _cancel_ask(self, data: bytes, raw: bytes) -> None:
        for number, ask in list(self._asks.items()):
            if ask.raw_id == raw:
                ask.peer.push(message.with_value(data, ("params", "requestId"), b"%d" % number))

    def _answer_here(self, place: Place, call: Call, data: bytes) -> bool:
        """Subscriptions and log levels are per session, the member knows one client: forward only what changes its view."""
        if call.method == "logging/setLevel":
            return self._set_level(place, call, data)
        uri = _uri(data)
        if call.method == "resources/subscribe":
            place.uris.add(uri)
            return False
        place.uris.discard(uri)
        if any(uri in other.uris for other in self._places.values()):
            call.sink.deliver(message.result(call.raw_id, b"{}"), FINAL)
            return True
        return False

    def _set_level(self, place: Place, call: Call, data: bytes) -> bool:
        level = _level(data)
        place.level = level
        wanted = min(other.level for other in self._places.values())
        if self._level >= 0 and level > wanted:
            call.sink.deliver(message.result(call.raw_id, b"{}"), FINAL)
            return True
        self._level = level
        return False

    def _unsubscribe(self, uri: bytes) -> None:
        if not any(uri in place.uris for place in self._places.values()):
            body = b'{"jsonrpc":"2.0","id":%d,"method":"resources/unsubscribe","params":{"uri":%s}}' % (next(self._numbers), uri)
            self._send(body, None)


_ask_numbers = itertools.count(1)
"""Questions of all links share one count, because a session on several links answers all of them."""
_LOCAL = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
_NEEDS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}


def _uri(data: bytes) -> bytes:
    span = message.locate(data, ("params", "uri"))
    return data[span[0] : span[1]] if span else b"null"


def _level(data: bytes) -> int:
    span = message.locate(data, ("params", "level"))
    try:
        return LEVELS.index(json.loads(data[span[0] : span[1]])) if span else 0
    except ValueError:
        return 0
