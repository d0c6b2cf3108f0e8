"""One request of a handshake client on a stateless member: the member asks until it can answer. ADR 0013.

Owns the rounds of one request. Must not know HTTP, processes or other requests.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

from mcpwatch.gateway.protocol import json_edit, message, translation
from mcpwatch.gateway.protocol.call import FINAL, PART, Delivery, Peer, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.questions import NEEDS, WAIT_LIMIT

ROUNDS = 10
"""Rounds of one request; the SDKs stop there too."""
PAUSES = (0.05, 0.1, 0.2, 0.25)
"""Seconds before a request is repeated for a member that only asks for patience; the last one from then on."""


class InputRequiredRequest:
    """The sink of one request, `data` with its envelope. `sink` gets questions and progress, and at last the whole answer."""

    def __init__(self, mux: Mux, peer: Peer, envelope: Envelope, data: bytes, sink: Sink, done: Callable[[], object]) -> None:
        self._done = done
        self._waiting = False
        self._mux, self._peer, self._envelope, self._data, self._sink = mux, peer, envelope, data, sink
        self._round = 0
        self._state: bytes | None = None
        self._asked: dict[int, str] = {}
        self._answers: dict[str, bytes] = {}
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Something of the member: a final answer that asks for input begins another round."""
        required = translation.input_required(data) if share == FINAL and data else None
        if required is None:
            if share == FINAL:
                self._over = True
                self._done()
            self._sink.deliver(data, share)
            return
        self._round += 1
        self._waiting = True
        asks, self._state = required
        if self._round > ROUNDS:
            self._fail(f"the member asked for input more than {ROUNDS} times")
        elif asks:
            self._ask(asks)
        else:
            pause = PAUSES[min(self._round, len(PAUSES)) - 1]
            asyncio.get_running_loop().call_later(pause, self._again)

    def cancel(self) -> None:
        """The client does not wait any more. A round under way is the link's to cancel."""
        if not self._over and self._waiting:
            self._end(b"")

    def _ask(self, asks: dict[str, bytes]) -> None:
        self._answers = {}
        for question in asks.values():
            method: Any = json.loads(question).get("method")
            needed = NEEDS.get(str(method))
            if needed is None or needed not in self._peer.capabilities:
                self._fail(f"the member asks {method}, for which the client does not support {needed or 'anything'}")
                return
        for key, question in asks.items():
            take = functools.partial(self._answered, key)
            number = self._mux.questions.ask(self._peer, self._sink, question[1:-1], take)
            self._asked[number] = key
        self._timer = asyncio.get_running_loop().call_later(WAIT_LIMIT, self._fail, f"no answer of the client in {WAIT_LIMIT:g} s")

    def _answered(self, key: str, data: bytes) -> None:
        if self._over:
            return
        self._asked = {number: other for number, other in self._asked.items() if other != key}
        span = json_edit.locate(data, ("result",))
        if span is None:
            refused = json_edit.locate(data, ("error",))
            raw_id = message.raw_id(self._envelope) or b"null"
            error = data[refused[0] : refused[1]] if refused else b'{"code":-32603,"message":"no answer"}'
            self._end(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (raw_id, error))
            return
        self._answers[key] = data[span[0] : span[1]]
        if not self._asked:
            self._again()

    def _again(self) -> None:
        if self._over:
            return
        self._waiting = False
        self._wait_no_more()
        fresh = translation.with_input(self._data, self._answers, self._state)
        if not self._mux.request(self._peer, self._envelope, fresh, self):
            self._over = True
            self._done()
            self._mux.refuse(self._envelope, self._sink, "takes no more input")

    def _fail(self, text: str) -> None:
        self._end(message.error(message.raw_id(self._envelope), message.INTERNAL_ERROR, text))

    def _end(self, data: bytes) -> None:
        self._over = True
        self._wait_no_more()
        self._done()
        for number in self._asked:
            self._mux.questions.forget(number)
            self._sink.deliver(message.notification("notifications/cancelled", {"requestId": number}), PART)
        self._asked = {}
        self._sink.deliver(data, FINAL)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
