"""A client's session with one member: its handshake, its requests, and its way back.

Owns what a client said about itself and which upstream serves it. Must not know HTTP.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw

from mcpwatch.gateway.digests import new_id
from mcpwatch.gateway.protocol import message, tools, translation
from mcpwatch.gateway.protocol.call import FINAL, Sink
from mcpwatch.gateway.protocol.message import HANDSHAKE, Envelope
from mcpwatch.gateway.session.answer_filter import Filter
from mcpwatch.gateway.session.legacy_client import MAY_ASK, LegacyClient
from mcpwatch.gateway.session.session_output import SessionOutput
from mcpwatch.gateway.session.tool_outcome import CountedCall
from mcpwatch.gateway.settings import ToolRules
from mcpwatch.gateway.upstream.interactive_pool import ClientIdentity, InteractiveRequest, unknown_state
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.member import ServedMember, UpstreamTask
from mcpwatch.gateway.upstream.sign_of_life import FRESH
from mcpwatch.gateway.upstream.upstream import Upstream

PING_LIMIT = 10.0
"""Seconds in which a shared member must prove that it lives before a handshake or a ping is answered."""

log = logging.getLogger("mcpwatch.gateway")


class Session(SessionOutput):
    """One client session on one member."""

    __slots__ = (
        "_legacy", "_native", "_own", "_ruled", "_serving", "_upstream", "capabilities", "closed", "id", "identity", "member",
        "owner",
    )  # fmt: skip

    def __init__(self, member: ServedMember, owner: str) -> None:
        super().__init__()
        self.id = new_id()
        self.member = member
        self.owner = owner
        self.capabilities: frozenset[str] = frozenset()
        self.closed = False
        self._upstream: Upstream | None = None
        self._own: UpstreamTask | None = None
        self._native = False
        self._legacy: LegacyClient | None = None
        self.identity: ClientIdentity | None = None
        """Who asks, for one request of the stateless wire whose client can be asked."""
        self._serving: tuple[InteractiveRequest, Sink] | None = None
        self._ruled = member.settings.tools != ToolRules()

    @property
    def served_by(self) -> tuple[str]:
        """The member, by name."""
        return (self.member.name,)

    @property
    def costly(self) -> bool:
        """Whether it keeps a process of its own."""
        return self._own is not None and self._own.upstream.pid is not None

    # --- the way in ---

    async def take(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """One message of the client. What goes wrong with it is its answer; raises `UpstreamUnavailable` only before that."""
        if self.try_take(data, envelope, sink):
            return
        self.seen = time.monotonic()
        upstream = self._upstream
        if envelope.method == "ping" and upstream is not None and upstream.modern:
            await self._prove(upstream, 0.0)
            sink.deliver(message.result(message.raw_id(envelope) or b"null", b"{}"), FINAL)
        elif envelope.method == "initialize":
            await self._initialize(data, envelope, sink)
        elif envelope.method == "tools/call" and not self.checking:
            with CountedCall(sink, self.member.counts) as counted:
                await self._pass(data, envelope, counted)
        else:
            await self._pass(data, envelope, sink)

    def try_take(self, data: bytes, envelope: Envelope, sink: Sink) -> bool:
        """Take a message of the client when that needs no waiting. False, and nothing is done, when it does."""
        upstream, method = self._upstream, envelope.method
        if method is UNSET:
            self.answer(data, envelope)
        elif envelope.id is UNSET:
            if upstream is not None and (method != "notifications/initialized" or self._own is not None):
                if self._legacy is not None and method == "notifications/cancelled":
                    self._legacy.cancelled(envelope)
                upstream.mux.notify(self, envelope, data)
        elif method == "initialize":
            return self._try_initialize(data, envelope, sink)
        elif upstream is None or self._ruled or not self._is_open() or (method == "ping" and upstream.modern):
            return False
        else:
            counted = method == "tools/call" and not self.checking
            if not self._request(upstream, envelope, data, CountedCall(sink, self.member.counts) if counted else sink):
                return False
        self.seen = time.monotonic()
        return True

    def answer(self, data: bytes, envelope: Envelope) -> bool:
        """The client's answer to a question. False when this session was asked no such thing."""
        return (
            self._upstream is not None
            and isinstance(envelope.id, Raw)
            and self._upstream.mux.questions.respond(self, envelope, data)
        )

    def use(self, upstream: Upstream, *, native: bool = False) -> None:
        """Be served by this upstream, without a handshake. `native`: the client speaks its wire."""
        self._upstream = upstream
        self._native = native
        upstream.mux.attach(self)

    async def attend(self) -> None:
        """Hear of what every session of the member hears. Raises `UpstreamUnavailable`."""
        await self.member.main.ready()
        if self._upstream is None and not self.closed:
            self.use(self.member.main)

    def end(self) -> Coroutine[Any, Any, None] | None:
        """The session is over; what of that has to be waited for: the end of an upstream of its own."""
        if self.closed:
            return None
        self.closed = True
        self.finish()
        if self._serving is not None:
            self._serving[0].gone(self._serving[1])
        if self._upstream is not None:
            self._upstream.mux.detach(self)
            self._upstream.listening.leave(self)
        return self._own.stop() if self._own is not None else None

    def _try_initialize(self, data: bytes, envelope: Envelope, sink: Sink) -> bool:
        """Answer `initialize` at once, where the shared upstream runs and has just shown that it lives."""
        main = self.member.main
        if self._upstream is not None or main.phase is not UpstreamPhase.RUNNING or main.modern or not main.life.shown(FRESH):
            return False
        asked = _object(message.params_of(data) or b"{}")
        capabilities = frozenset(_object_of(asked, "capabilities"))
        if self.closed or self.member.needs_own(capabilities):
            return False
        self.capabilities = capabilities
        self.use(main)
        result, self.version = main.agreed(asked.get("protocolVersion"))
        sink.deliver(message.result(message.raw_id(envelope) or b"null", result), FINAL)
        return True

    async def _initialize(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        assert isinstance(envelope.id, Raw)
        raw_id = bytes(envelope.id)
        params = message.params_of(data) or b"{}"
        asked = _object(params)
        self.capabilities = frozenset(_object_of(asked, "capabilities"))
        await self.member.main.ready()
        if self.closed:
            return
        if self._upstream is None:
            if self.member.needs_own(self.capabilities):
                self._own = self.member.open_own(message.one_line(params))
                self._upstream = self._own.upstream
            else:
                self._upstream = self.member.main
        upstream = await self._opened(self._upstream)
        if self._own is None:
            await self._prove(upstream, FRESH)
        if self.closed:
            return
        upstream.mux.attach(self)
        if upstream.modern:
            self._legacy = LegacyClient(upstream.mux, upstream.listening, self, asked)
            upstream.listening.join(self)
            self.version = _spoken(asked)
            result = translation.greeting(upstream.server, self.version)
        elif self._own is not None:
            result, self.version = upstream.server, upstream.protocol
        else:
            result, self.version = upstream.agreed(asked.get("protocolVersion"))
        sink.deliver(message.result(raw_id, result), FINAL)

    async def _opened(self, upstream: Upstream) -> Upstream:
        """The upstream once it can be used; the shared one where the member bears no other. Raises `UpstreamUnavailable`."""
        try:
            await upstream.ready()
        except UpstreamUnavailable:
            if self._own is None or not self.member.one_for_all(upstream):
                raise
            own, self._own, self._upstream = self._own, None, self.member.main
            await own.stop()
            return self.member.main
        return upstream

    async def _prove(self, upstream: Upstream, fresh: float) -> None:
        """Return when the upstream has proved that it lives, if it did not within the last `fresh` seconds.

        Raises `UpstreamUnavailable`.
        """
        try:
            await upstream.life.prove(PING_LIMIT, fresh)
        except TimeoutError:
            raise UpstreamUnavailable(self.member.name, f"it did not answer within {PING_LIMIT:g} s", 1) from None

    async def _pass(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        if self._ruled:
            if (ruled := self._rule(data, envelope, sink)) is None:
                return
            data, sink = ruled
        if not self._is_open() or not self._request(cast("Upstream", self._upstream), envelope, data, sink):
            await self._forward(data, envelope, sink)

    def _is_open(self) -> bool:
        """Whether a request can go its way at once: there is an upstream, it runs, and nothing is to be said in other words."""
        upstream = self._upstream
        return (
            upstream is not None
            and upstream.phase is UpstreamPhase.RUNNING
            and self.identity is None
            and (self._legacy is not None or self._native or not upstream.modern)
        )

    async def _forward(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        if self.identity is not None and envelope.method in MAY_ASK:
            await self._interactive(self.identity, data, envelope, sink)
            return
        upstream = self._upstream
        if upstream is None:
            await self.attend()
            upstream = self.member.main
        elif upstream.phase is not UpstreamPhase.RUNNING:
            await upstream.ready()
        if upstream.modern and not self._native and self._legacy is None:
            self._legacy = LegacyClient(upstream.mux, upstream.listening, self, {})
        if self.closed or self._request(upstream, envelope, data, sink):
            return
        await upstream.renewed(upstream.generation)
        if not self.closed and not self._request(upstream, envelope, data, sink):
            upstream.mux.refuse(envelope, sink, "takes no more input")

    async def _interactive(self, identity: ClientIdentity, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """A request of the stateless wire that the member may ask something about."""
        visit = await self.member.seats.serve(identity, envelope, data, sink)
        if visit is None:
            unknown_state(sink, envelope)
        elif self.closed:
            visit.gone(sink)
        else:
            self._serving = visit, sink

    def _request(self, upstream: Upstream, envelope: Envelope, data: bytes, sink: Sink) -> int:
        if self._legacy is not None:
            return self._legacy.request(envelope, data, sink)
        return upstream.mux.request(self, envelope, data, sink)

    def _rule(self, data: bytes, envelope: Envelope, sink: Sink) -> tuple[bytes, Sink] | None:
        """Apply the member's tool rules to a request; `None` when that answered it."""
        rules = self.member.settings.tools
        if envelope.method == "tools/list":
            return data, Filter(sink, lambda body: tools.filtered(body, "tools", lambda own: tools.shown_name(rules, own)))
        if envelope.method != "tools/call":
            return data, sink
        shown = tools.parameter(data, "name")
        own = tools.own_name(rules, shown) if isinstance(shown, str) else None
        if own is None:
            text = message.error(bytes(cast("Raw", envelope.id)), message.INVALID_PARAMS, f"Unknown tool: {shown}")
            sink.deliver(text, FINAL)
            return None
        return (data if own == shown else tools.with_parameter(data, own, "name")), sink


def _spoken(asked: dict[str, Any]) -> str:
    """The handshake version that a client asked for, or the newest."""
    version = asked.get("protocolVersion")
    return version if version in HANDSHAKE else HANDSHAKE[-1]


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _object_of(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]
