"""Where a notification of a member goes: to the request that it belongs to, to who asked for it, or to every session on its link.

Owns that choice. Must not know ids of clients, links or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Raw

from mcpwatch.gateway.protocol import json_edit, message
from mcpwatch.gateway.protocol.call import PART, Call, Peer, PeerState
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.questions import Questions
from mcpwatch.gateway.upstream.request_ids import number_of
from mcpwatch.gateway.upstream.subscriptions import level, uri


class Notifications:
    """Those of one link. `calls` are the requests under way by number, `places` the sessions; `heard_of` takes each
    call of which it is told how far it is."""

    def __init__(
        self,
        calls: Callable[[], Mapping[int, Call]],
        places: Mapping[Peer, PeerState],
        questions: Questions,
        heard_of: Callable[[Call], None],
    ) -> None:
        self._calls, self._places, self._questions, self._heard_of = calls, places, questions, heard_of

    def take(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        """One notification; `related` is the request whose stream it came on, where the wire says so."""
        params = envelope.params if isinstance(envelope.params, message.Params) else None
        match envelope.method:
            case "notifications/progress" if params is not None and isinstance(params.progress_token, Raw):
                token = bytes(params.progress_token)
                call = call_of(self._calls(), token)
                if call is not None and call.token is not None:
                    self._heard_of(call)
                    call.sink.deliver(message.with_known(data, ("params", "progressToken"), token, call.token), PART)
            case "notifications/cancelled" if params is not None and isinstance(params.request_id, Raw):
                self._questions.withdraw(bytes(params.request_id), data)
            case _ if params is not None and isinstance(params.meta, message.Meta) and isinstance(params.meta.subscription, Raw):
                self._changed(data, bytes(params.meta.subscription))
            case "notifications/resources/updated":
                which = uri(data)
                for peer, place in list(self._places.items()):
                    if which in place.uris:
                        peer.push(data)
            case "notifications/message":
                self._tell(data, related)
            case _:
                self._broadcast(data, related)

    def _changed(self, data: bytes, raw: bytes) -> None:
        """What belongs to a `subscriptions/listen` request of the stateless wire."""
        call = call_of(self._calls(), raw)
        if call is not None:
            call.sink.deliver(json_edit.with_value(data, ("params", "_meta", message.SUBSCRIPTION), call.raw_id), PART)

    def _broadcast(self, data: bytes, related: int | None) -> None:
        call = self._calls().get(related) if related is not None else None
        if call is not None:
            call.sink.deliver(data, PART)
            return
        for peer in list(self._places):
            peer.push(data)

    def _tell(self, data: bytes, related: int | None) -> None:
        """A log message goes to the one request that can have caused it, else to every session that wants its level."""
        calls = self._calls()
        call = calls.get(related) if related is not None else next(iter(calls.values())) if len(calls) == 1 else None
        if call is not None:
            call.sink.deliver(data, PART)
            return
        said = level(data)
        for peer, place in list(self._places.items()):
            if said >= place.level:
                peer.push(data)


def call_of(calls: Mapping[int, Call], raw: bytes) -> Call | None:
    """The call that a member means by an id or a token, as it was written."""
    number = number_of(raw)
    return calls.get(number) if number is not None else None
