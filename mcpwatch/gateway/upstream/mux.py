"""Several client sessions on one upstream link: who asked what, and to whom an answer, a notification or a question belongs.

Owns ids and progress tokens on one link. Must not know HTTP, processes or restarts.

The invariant (ADR 0078, fuzzed in `tests/gateway/test_invariant.py`): whatever bytes clients and members send, a member sees only
ids and progress tokens of calls that this gateway chose, and what answers a call reaches only the session that made it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw

from mcpwatch.gateway.protocol import json_edit, message, translation
from mcpwatch.gateway.protocol.call import FINAL, SUSPENDED, Call, Peer, PeerState, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.notifications import Notifications, call_of
from mcpwatch.gateway.upstream.pollution import UNASKED, Pollution
from mcpwatch.gateway.upstream.questions import Questions
from mcpwatch.gateway.upstream.request_ids import RequestIds, number_of
from mcpwatch.gateway.upstream.subscriptions import METHODS, Subscriptions
from mcpwatch.http_client.failure import POSSIBLY_EXECUTED

CANCELLED_LINGER = 30.0
"""Seconds that a cancelled call may still be answered."""


class Mux:
    """Sessions on one link. `send` writes one message upstream and says where in the link's stream it ends, 0 when it could not."""

    def __init__(self, name: str, send: Callable[[bytes, int | None], int], call_limit: float, counts: Counts) -> None:
        self._name = name
        self._send = send
        self.call_limit = call_limit
        """Seconds for which a call may be silent; read at each call."""
        self._ids = RequestIds()
        self._unasked = Pollution(name, UNASKED)
        self._calls: dict[int, Call] = {}
        self._unread: list[Call] = []
        self._places: dict[Peer, PeerState] = {}
        self.questions = Questions(lambda data: send(data, None), lambda: self._calls, self._places)
        self._subscriptions = Subscriptions(self._places)
        self._notifications = Notifications(lambda: self._calls, self._places, self.questions, self._heard_of)
        self.heard = -math.inf
        """When the member last said something (monotonic seconds)."""
        self._word: asyncio.Future[None] | None = None
        self._counts = counts

    # --- sessions ---

    def attach(self, peer: Peer) -> None:
        """Let a session use this link."""
        self._places.setdefault(peer, PeerState())

    def detach(self, peer: Peer) -> None:
        """A session is over: cancel what it still waits for, forget what it subscribed to."""
        place = self._places.pop(peer, None)
        if place is None:
            return
        for number in list(place.calls.values()):
            self.cancel(number, "session closed")
        self.questions.leave(place)
        for which in place.uris:
            self._unsubscribe(which)

    @property
    def peers(self) -> int:
        """Sessions attached."""
        return len(self._places)

    @property
    def next_word(self) -> asyncio.Future[None]:
        """Done when the member says something, whatever it is, or the link is lost; one for all who wait. Do not cancel it."""
        if self._word is None:
            self._word = asyncio.get_running_loop().create_future()
        return self._word

    def _tell_word(self) -> None:
        if self._word is not None:
            self._word.set_result(None)
            self._word = None

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        return len(self._calls)

    @property
    def busy(self) -> bool:
        """Whether a request waits that ends by itself: a subscription does not."""
        return any(call.ends for call in self._calls.values())

    @property
    def serving(self) -> bool:
        """Whether a call of a session is under way that ends by itself."""
        return any(call.attended for call in self._calls.values() if call.peer in self._places)

    @property
    def of_clients(self) -> list[Call]:
        """Those calls of sessions that are no checks, whether a client waits for them or not."""
        return [call for call in self._calls.values() if call.ends and call.peer in self._places and not call.peer.checking]

    # --- from a client ---

    def request(self, peer: Peer, envelope: Envelope, data: bytes, sink: Sink) -> int:
        """Forward a request under a number of this link; the answer reaches `sink`. 0 when it could not be sent."""
        assert isinstance(envelope.id, Raw)
        assert isinstance(envelope.method, str)
        raw_id = bytes(envelope.id)
        number = self._ids.new(self._calls)
        token = None if envelope.params is message.NO_PARAMS else translation.progress_token(envelope)
        method, now = envelope.method, time.monotonic()
        call = Call(number, peer, raw_id, sink, method, token, now + self.call_limit, began=now)
        place = self._places.get(peer)
        if place is not None and method in METHODS and self._subscriptions.take(place, method, data):
            sink.deliver(message.result(raw_id, b"{}"), FINAL)
            return number
        fresh = b"%d" % number
        out = message.with_id(data, raw_id, fresh)
        if token is not None:
            out = message.with_known(out, ("params", "_meta", "progressToken"), token, fresh)
        self._calls[number] = call
        if place is not None:
            place.calls[raw_id] = number
        self._counts.requests += 1
        call.out = message.one_line(out)
        call.position = self._send(call.out, number)
        if not call.position:
            self._finish(number)
            return 0
        return number

    def notify(self, peer: Peer, envelope: Envelope, data: bytes) -> None:
        """Forward a client's notification, unless it speaks of what is not the client's."""
        if envelope.method == "notifications/cancelled":
            self._cancel(peer, envelope, data)
        elif envelope.method != "notifications/progress" or self.questions.reports(peer, envelope):
            self._send(message.one_line(data), None)

    def cancel(self, number: int, reason: str) -> None:
        """The client of a request went away, on a wire where that ends it."""
        if call := self._finish(number):
            self._counts.lately.gave_up(call)
            self._send(message.notification("notifications/cancelled", {"requestId": number, "reason": reason}), None)

    def refuse(self, envelope: Envelope, sink: Sink, reason: str) -> None:
        """Answer a request that could not be sent."""
        sink.deliver(self._refusal(bytes(envelope.id) if isinstance(envelope.id, Raw) else b"null", reason), FINAL)

    def own(self, method: str, params: dict[str, Any] | None, sink: Sink, peer: Peer, limit: float) -> int:
        """A request of the gateway's own on this link."""
        number = self._ids.new(self._calls)
        self._calls[number] = Call(number, peer, b"%d" % number, sink, method, None, time.monotonic() + limit)
        if not self._send(message.request(number, method, params), number):
            self._calls.pop(number, None)
            sink.deliver(self._refusal(b"%d" % number, "takes no more input"), FINAL)
        return number

    # --- from the member ---

    def receive(self, data: bytes, envelope: Envelope, related: int | None = None) -> None:
        """One message of the member; `related` is the request whose stream it came on, where the wire says so."""
        self.heard = time.monotonic()
        self._tell_word()
        if envelope.method is UNSET:
            self._answer(data, envelope)
        elif envelope.id is UNSET:
            self._notifications.take(data, envelope, related)
        else:
            self.questions.take(data, envelope, related)

    def lost(self, reason: str, read: int | None = None) -> None:
        """The link is gone: every waiting request fails now, naming the member.

        `read` is how much of the link's stream the member had read, where that is known: a request that it never saw
        is kept for `resend`.
        """
        self._tell_word()
        calls: list[Call] = []
        for call in self._calls.values():
            unread = read is not None and call.out and call.position - len(call.out) > read
            (self._unread if unread else calls).append(call)
        self._calls, self._unasked = {}, Pollution(self._name, UNASKED)
        self.questions.lost()
        for place in self._places.values():
            place.calls.clear()
        for call in calls:
            call.sink.deliver(self._refusal(call.raw_id, reason, sent=True), FINAL)

    def suspended(self, number: int, retry: int) -> None:
        """The stream of a request ended before its answer; its client may wait in the same way, `retry` milliseconds."""
        if (call := self._calls.get(number)) is not None:
            call.sink.deliver(b"%d" % retry, SUSPENDED)

    def too_long(self, head: bytes, tail: bytes) -> None:
        """A text of the member was dropped for its length; its first and last bytes. The call that it answered fails now.

        Where these do not say which one that is, each call fails: one of them would wait for nothing.
        """
        if b'"method"' in head:
            return
        raw = message.id_at_an_end(head, tail) or b""
        for one in [raw] if call_of(self._calls, raw) else [b"%d" % number for number in self._calls]:
            self.unreadable(one, "answered with more than the gateway takes in one message")

    def unreadable(self, raw: bytes, why: str) -> None:
        """What answers this id cannot be read: its call, where there is one, fails now."""
        if (call := call_of(self._calls, raw)) is not None:
            self._finish(call.number)
            call.sink.deliver(self._refusal(call.raw_id, why), FINAL)

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
        return [
            b'{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}' % (self._ids.new(self._calls), method.encode(), body)
            for method, body in self._subscriptions.restore()
        ]

    def expire(self, now: float) -> None:
        """End what has waited past its bound."""
        for call in [call for call in self._calls.values() if call.until <= now]:
            if call.method:
                self.cancel(call.number, "timeout")
                call.sink.deliver(self._refusal(call.raw_id, "did not answer in time", sent=True), FINAL)
            else:
                self._finish(call.number)
                call.sink.deliver(b"", FINAL)
        self.questions.expire(now)

    # --- inside ---

    def _heard_of(self, call: Call) -> None:
        """A call that is worked on may be silent for as long again."""
        call.until = time.monotonic() + self.call_limit
        self._counts.lately.progressed(call)

    def _refusal(self, raw_id: bytes, reason: str, *, sent: bool = False) -> bytes:
        """The error of a request without an answer; `sent`: the member may have read it."""
        data: dict[str, object] = {"member": self._name, "reason": reason, **({"possiblyExecuted": True} if sent else {})}
        return message.error(raw_id, message.MEMBER_DOWN, f"member {self._name!r} {reason}{POSSIBLY_EXECUTED * sent}", data)

    def _finish(self, number: int) -> Call | None:
        call = self._calls.pop(number, None)
        if call is not None:
            place = self._places.get(call.peer)
            if place is not None and place.calls.get(call.raw_id) == number:
                del place.calls[call.raw_id]
            self.questions.settle(number)
        return call

    def _answer(self, data: bytes, envelope: Envelope) -> None:
        raw = bytes(envelope.id) if isinstance(envelope.id, Raw) else b""
        number = number_of(raw)
        if number is None or (call := self._finish(number)) is None:
            if not self._ids.gave(number):
                self._unasked.tell(raw)
            return
        self._counts.lately.answered(call)
        call.sink.deliver(message.with_id(data, raw, call.raw_id), FINAL)

    def _cancel(self, peer: Peer, envelope: Envelope, data: bytes) -> None:
        place = self._places.get(peer)
        params = envelope.params
        if place is None or not isinstance(params, message.Params) or not isinstance(params.request_id, Raw):
            return
        call = self._calls.get(place.calls.get(bytes(params.request_id), 0))
        if call is None:
            return
        self._counts.lately.gave_up(call)
        call.until, call.method = min(call.until, time.monotonic() + CANCELLED_LINGER), ""
        self._send(message.one_line(json_edit.with_value(data, ("params", "requestId"), b"%d" % call.number)), None)

    def _unsubscribe(self, which: bytes) -> None:
        if not self._subscriptions.wanted(which):
            body = b'{"jsonrpc":"2.0","id":%d,"method":"resources/unsubscribe","params":{"uri":%s}}' % (
                self._ids.new(self._calls),
                which,
            )
            self._send(body, None)
