"""A client's session with one member: its handshake, its requests, and its way back.

Owns what a client said about itself and which upstream serves it. Must not know HTTP.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw

from mcpwatch.gateway import message
from mcpwatch.gateway.member import Member, Running
from mcpwatch.gateway.message import HANDSHAKE, Envelope
from mcpwatch.gateway.mux import FINAL, Sink
from mcpwatch.gateway.upstream import Down, Phase, Upstream

PING_LIMIT = 10.0
"""Seconds in which a shared member must prove that it lives before a handshake is answered."""
UNSENT_MESSAGES, UNSENT_BYTES = 256, 1024 * 1024
"""What is kept for a client that has no stream open; the oldest goes first and is counted."""

log = logging.getLogger("mcpwatch.gateway")


class Session:
    """One client session on one member."""

    def __init__(self, member: Member, owner: str) -> None:
        self.id = secrets.token_hex(16)
        self.member = member
        self.owner = owner
        self.capabilities: frozenset[str] = frozenset()
        self.seen = time.monotonic()
        self.open = 0
        self.closed = False
        self.dropped = 0
        self.on_close: Callable[[], None] = lambda: None
        self._upstream: Upstream | None = None
        self._own: Running | None = None
        self._write: Callable[[bytes], None] | None = None
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0

    # --- the way back ---

    def push(self, data: bytes) -> None:
        """Send the client a message that belongs to no request."""
        if self._write is not None:
            self._write(data)
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        while len(self._unsent) > UNSENT_MESSAGES or self._unsent_bytes > UNSENT_BYTES:
            self._unsent_bytes -= len(self._unsent.popleft())
            self.dropped += 1

    def deliver(self, data: bytes, share: str) -> None:  # noqa: ARG002
        """On the legacy wire everything goes back on the one stream."""
        if data:
            self.push(data)

    def connect(self, write: Callable[[bytes], None]) -> None:
        """A stream to the client is open: what waited goes out first."""
        self._write = write
        while self._unsent:
            write(self._unsent.popleft())
        self._unsent_bytes = 0

    def disconnect(self, write: Callable[[bytes], None]) -> None:
        """That stream is gone."""
        if self._write == write:
            self._write = None

    # --- the way in ---

    async def take(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """One message of the client. What goes wrong with a request is its answer; raises `Down` only before that."""
        self.seen = time.monotonic()
        upstream = self._upstream
        if envelope.method is UNSET:
            if upstream is not None and isinstance(envelope.id, Raw):
                upstream.mux.respond(self, envelope, data)
        elif envelope.id is UNSET:
            if upstream is not None and (envelope.method != "notifications/initialized" or self._own is not None):
                upstream.mux.notify(self, envelope, data)
        elif envelope.method == "initialize":
            await self._initialize(data, envelope, sink)
        else:
            if upstream is None:
                upstream = await self._adopt()
            elif upstream.phase is not Phase.RUNNING:
                await upstream.ready()
            if self.closed or upstream.mux.request(self, envelope, data, sink):
                return
            await upstream.renewed(upstream.generation)
            if not upstream.mux.request(self, envelope, data, sink):
                upstream.mux.refuse(envelope, sink, "takes no more input")

    async def close(self) -> None:
        """The session is over."""
        if self.closed:
            return
        self.closed = True
        self.on_close()
        if self._upstream is not None:
            self._upstream.mux.detach(self)
        if self._own is not None:
            await self._own.stop()

    async def _initialize(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        assert isinstance(envelope.id, Raw)
        raw_id = bytes(envelope.id)
        span = message.locate(data, ("params",))
        params = data[span[0] : span[1]] if span else b"{}"
        asked = _object(params)
        self.capabilities = frozenset(_object_of(asked, "capabilities"))
        await self.member.main.ready()
        if self._upstream is None:
            if self.member.needs_own(self.capabilities):
                self._own = self.member.open_own(message.one_line(params))
                self._upstream = self._own.upstream
            else:
                self._upstream = self.member.main
        upstream = self._upstream
        await upstream.ready()
        if self._own is None:
            try:
                await upstream.ask("ping", None, PING_LIMIT)
            except TimeoutError:
                raise Down(self.member.name, f"it did not answer within {PING_LIMIT:g} s", 1) from None
        if self.closed:
            return
        upstream.mux.attach(self)
        result = upstream.server if self._own is not None else _agreed(upstream, asked)
        sink.deliver(message.result(raw_id, result), FINAL)

    async def _adopt(self) -> Upstream:
        """A client that did not say hello is served by the main upstream."""
        upstream = self.member.main
        await upstream.ready()
        self._upstream = upstream
        upstream.mux.attach(self)
        return upstream


def _agreed(upstream: Upstream, asked: dict[str, Any]) -> bytes:
    """The member's own answer to `initialize`, with the version that both sides know."""
    version = asked.get("protocolVersion")
    if version == upstream.protocol or version not in HANDSHAKE or upstream.protocol not in HANDSHAKE:
        return upstream.server
    if HANDSHAKE.index(version) > HANDSHAKE.index(upstream.protocol):
        return upstream.server
    return message.with_value(upstream.server, ("protocolVersion",), b'"' + version.encode() + b'"')


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _object_of(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]
