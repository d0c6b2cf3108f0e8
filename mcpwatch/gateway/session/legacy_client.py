"""A handshake client's session on a stateless member: what it said once is said in every request. ADR 0013.

Owns the words of one session. Must not know HTTP or processes.
"""

from __future__ import annotations

import functools
from typing import Any

from msgspec import Raw

from mcpwatch.gateway.protocol import message, tools, translation
from mcpwatch.gateway.protocol.call import FINAL, Peer, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.session.input_required import InputRequiredRequest
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.subscriptions import LEVELS, level
from mcpwatch.gateway.upstream.upstream_subscriptions import UpstreamSubscription

MAY_ASK = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests that a stateless member may answer with questions."""


class LegacyClient:
    """One session. `asked` is what the client said in `initialize`, empty where it said nothing."""

    def __init__(self, mux: Mux, listening: UpstreamSubscription, peer: Peer, asked: dict[str, Any]) -> None:
        self._mux, self._listening, self._peer = mux, listening, peer
        self._client: dict[str, Any] = asked.get("clientInfo") or {"name": "unnamed", "version": "0"}
        self._capabilities: dict[str, Any] = asked.get("capabilities") or {}
        self._level: str | None = None
        self._rounds: dict[bytes, InputRequiredRequest] = {}

    def request(self, envelope: Envelope, data: bytes, sink: Sink) -> int:
        """Forward a request, or answer what this wire has no word for. 0 when it could not be sent."""
        raw_id = message.raw_id(envelope) or b"null"
        done = functools.partial(sink.deliver, message.result(raw_id, b"{}"), FINAL)
        match envelope.method:
            case "logging/setLevel":
                self._level = LEVELS[level(data)]
                done()
                return 1
            case "resources/subscribe":
                self._listening.subscribe(self._peer, str(tools.parameter(data, "uri")), done)
                return 1
            case "resources/unsubscribe":
                self._listening.unsubscribe(self._peer, str(tools.parameter(data, "uri")))
                done()
                return 1
            case _:
                return self._send(envelope, data, sink, raw_id)

    def cancelled(self, envelope: Envelope) -> None:
        """The client does not wait for a request any more: end it if it is between two rounds."""
        params = envelope.params
        if isinstance(params, message.Params) and isinstance(params.request_id, Raw):
            rounds = self._rounds.get(bytes(params.request_id))
            if rounds is not None:
                rounds.cancel()

    def _send(self, envelope: Envelope, data: bytes, sink: Sink, raw_id: bytes) -> int:
        out = translation.enveloped(data, self._client, self._capabilities, self._level)
        if envelope.method not in MAY_ASK:
            return self._mux.request(self._peer, envelope, out, sink)
        rounds = InputRequiredRequest(self._mux, self._peer, envelope, out, sink, lambda: self._rounds.pop(raw_id, None))
        self._rounds[raw_id] = rounds
        number = self._mux.request(self._peer, envelope, out, rounds)
        if not number:
            self._rounds.pop(raw_id, None)
        return number
