"""Clients of the stateless wire on a member that asks by requests: each request sits on an upstream of its own. ADR 0014.

Owns those upstreams, and the requests that wait between two rounds. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import UNSET, Raw

from mcpwatch.gateway.digests import new_id
from mcpwatch.gateway.protocol import json_edit, message, translation
from mcpwatch.gateway.protocol.call import FINAL, PART, SUSPENDED, Delivery, Sink
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.questions import NEEDS, WAIT_LIMIT
from mcpwatch.gateway.upstream.upstream import Upstream

IDLE_LIMIT = 60.0
"""Seconds that an upstream is kept for the next request of the same kind of client."""


class RunningUpstream(Protocol):
    """An upstream that runs until it is stopped."""

    upstream: Upstream

    async def stop(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A client of the stateless wire, as one of its requests says: the mark of its token, what it can be asked, who it is."""

    owner: str
    capabilities: str
    client: str

    @property
    def hello(self) -> bytes:
        """The parameters of `initialize` in its name."""
        version = message.HANDSHAKE[-1]
        return f'{{"protocolVersion":"{version}","capabilities":{self.capabilities},"clientInfo":{self.client}}}'.encode()


def client_identity(owner: str, meta: dict[str, Any], capabilities_key: str, client_key: str) -> ClientIdentity | None:
    """The client of a request by its envelope, `None` when it can be asked nothing."""
    declared: Any = meta.get(capabilities_key) or {}
    able: dict[str, Any] = {name: declared[name] for name in sorted(NEEDS.values()) if name in declared}
    client = meta.get(client_key) or {"name": "unnamed", "version": "0"}
    return ClientIdentity(owner, json.dumps(able), json.dumps(client)) if able else None


class InteractivePool:
    """The pooled upstreams of one member. `open_own` opens one by the words of `initialize`; may raise `UpstreamUnavailable`."""

    def __init__(self, open_own: Callable[[bytes], RunningUpstream]) -> None:
        self._open_own = open_own
        self.replica = ""
        """What stands before each state where there are several gateways: the name of this one."""
        self._free: list[PooledUpstream] = []
        """The one that has been free longest comes first."""
        self._waiting: dict[str, InteractiveRequest] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def serve(self, who: ClientIdentity, envelope: Envelope, data: bytes, sink: Sink) -> InteractiveRequest | None:
        """Begin a request, or go on with one that waits. `None` when it names a state that is not known.

        Raises `UpstreamUnavailable`.
        """
        span = json_edit.locate(data, ("params", "requestState"))
        if span is not None:
            state = str(json.loads(data[span[0] : span[1]]))
            visit = self._waiting.get(state)
            if visit is None or visit.seat.who.owner != who.owner:
                return None
            del self._waiting[state]
            visit.go_on(envelope, data, sink)
            return visit
        seat = await self._seat(who)
        return InteractiveRequest(self, seat, envelope, data, sink)

    async def _seat(self, who: ClientIdentity) -> PooledUpstream:
        for seat in [seat for seat in reversed(self._free) if seat.who == who]:
            self._free.remove(seat)
            if seat.upstream.phase is UpstreamPhase.RUNNING:
                seat.take()
                return seat
            self.end(seat)
        running = self._open_own(who.hello)
        seat = PooledUpstream(who, running)
        try:
            await seat.upstream.ready()
        except BaseException:
            self.end(seat)
            raise
        seat.upstream.mux.attach(seat)
        return seat

    def wait(self, visit: InteractiveRequest) -> str:
        """A request waits for its client; its state."""
        state = new_id()
        if self.replica:
            state = f"{self.replica}.{state}"
        self._waiting[state] = visit
        visit.until(asyncio.get_running_loop().call_later(WAIT_LIMIT, self._give_up, state))
        return state

    def free(self, seat: PooledUpstream) -> None:
        """A seat is free again; it is kept for a while."""
        self._free.append(seat)
        seat.leave(asyncio.get_running_loop().call_later(IDLE_LIMIT, self._clear, seat))

    def spare(self) -> bool:
        """End the seat that has been free longest, for somebody else's sake. False when none is free."""
        if self._free:
            self.end(self._free.pop(0))
            return True
        return False

    def end(self, seat: PooledUpstream) -> None:
        """Nobody sits here any more."""
        seat.take()
        seat.upstream.mux.detach(seat)
        task = asyncio.get_running_loop().create_task(seat.running.stop(), name="seat stop")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _clear(self, seat: PooledUpstream) -> None:
        if seat in self._free:
            self._free.remove(seat)
            self.end(seat)

    def _give_up(self, state: str) -> None:
        visit = self._waiting.pop(state, None)
        if visit is not None:
            visit.left()


class PooledUpstream:
    """An upstream for one request at a time: a peer that can be asked what its client can."""

    id = "seat"
    attended = True
    checking = False

    def __init__(self, who: ClientIdentity, running: RunningUpstream) -> None:
        self.who = who
        self.running = running
        self.upstream = running.upstream
        self.capabilities = frozenset(json.loads(who.capabilities))
        self.visit: InteractiveRequest | None = None
        self._timer: asyncio.TimerHandle | None = None

    def push(self, data: bytes) -> None:
        """A question without a mark belongs to the only request here; other messages belong to nobody."""
        if self.visit is not None and message.peek(data).id is not UNSET:
            self.visit.deliver(data, PART)

    def leave(self, timer: asyncio.TimerHandle) -> None:
        """Be free until `timer` ends it."""
        self.visit = None
        self._timer = timer

    def take(self) -> None:
        """Be free no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class InteractiveRequest:
    """One request, through all its rounds: the sink of the member's answer."""

    def __init__(self, seats: InteractivePool, seat: PooledUpstream, envelope: Envelope, data: bytes, sink: Sink) -> None:
        self._seats, self.seat = seats, seat
        self._first = self._now = message.raw_id(envelope) or b"null"
        self._token = translation.progress_token(envelope)
        self._sink: Sink | None = sink
        self._asked: dict[str, bytes] = {}
        self._answer: bytes | None = None
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        seat.visit = self
        self._number = seat.upstream.mux.request(seat, envelope, data, self)
        if not self._number:
            seat.upstream.mux.refuse(envelope, self, "takes no more input")

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Something of the member, or its answer."""
        if share == FINAL:
            self._answer = data
            self._finish()
            return
        if share == SUSPENDED:
            return
        envelope = message.peek(data)
        if isinstance(envelope.id, Raw):
            self._asked[bytes(envelope.id).decode()] = translation.as_input(data)
            asyncio.get_running_loop().call_soon(self._ask)
        elif self._sink is not None:
            if self._token is not None:
                data = json_edit.with_value(data, ("params", "progressToken"), self._token)
            self._sink.deliver(data, PART)

    def go_on(self, envelope: Envelope, data: bytes, sink: Sink) -> None:
        """The client is back with answers."""
        self.until(None)
        self._sink = sink
        self._now = message.raw_id(envelope) or b"null"
        self._token = translation.progress_token(envelope)
        for key, result in translation.inputs(data).items():
            if self._asked.pop(key, None) is not None:
                answer = message.result(key.encode(), result)
                self.seat.upstream.mux.questions.respond(self.seat, message.peek(answer), answer)
        self._finish()
        asyncio.get_running_loop().call_soon(self._ask)

    def left(self) -> None:
        """The client is gone, or did not come back: the request is cancelled, or its answer forgotten.

        Its seat ends, as it may still be asked things that belong to this client.
        """
        if self._over:
            return
        self._over = True
        if self._answer is None:
            self._answer = b""
            self.seat.upstream.mux.cancel(self._number, "the client went away")
        self._sink = None
        self._seats.end(self.seat)

    def gone(self, sink: Sink) -> None:
        """The client no longer waits with this sink."""
        if self._sink is sink:
            self.left()

    def until(self, timer: asyncio.TimerHandle | None) -> None:
        """Wait for the client, no longer than `timer` says."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _ask(self) -> None:
        if not self._asked or self._sink is None or self._answer is not None:
            return
        sink, self._sink = self._sink, None
        state = self._seats.wait(self)
        sink.deliver(message.result(self._now, translation.requiring(self._asked, state)), FINAL)

    def _finish(self) -> None:
        if self._answer is None or self._sink is None:
            return
        self._over = True
        sink, self._sink = self._sink, None
        sink.deliver(message.with_id(self._answer, self._first, self._now) if self._answer else b"", FINAL)
        self._seats.free(self.seat)


def unknown_state(sink: Sink, envelope: Envelope) -> None:
    """Answer a request that names a state which is not known."""
    text = "requestState is not known here (any more); ask again without it"
    sink.deliver(message.error(message.raw_id(envelope), message.INVALID_PARAMS, text), FINAL)
