"""The stateless wire (2026-07-28) as a client sees it: one POST, one answer.

Owns what a request of this wire is answered. Must not know routing, authorization or sessions that last.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from msgspec import UNSET

from mcpwatch.gateway.protocol import json_edit, message, stateless_protocol, tools, translation
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.session.answer_filter import Filter, QuietLog
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.mcp_request import KEEP_ALIVE, McpRequest, stream
from mcpwatch.gateway.session.passthrough import relay
from mcpwatch.gateway.session.subscription_stream import listen
from mcpwatch.gateway.session.target import ClientSession, OneSession
from mcpwatch.gateway.session.tool_outcome import Refusals
from mcpwatch.gateway.session.visits import Served, Visits
from mcpwatch.gateway.upstream import interactive_pool
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.gateway.upstream.own_requests import PendingReply

PLAIN_FOR = 60.0
"""Seconds for which a member without any tool that wants a header is not asked for its tools again."""
PAGES = 100
"""Pages of a member's tools that are looked through."""


async def post(request: McpRequest, body: bytes, envelope: Envelope, visits: Visits) -> None:
    """Answer one POST of this wire."""
    if envelope.id is UNSET or envelope.method is UNSET:
        _acknowledge(request, envelope)
        return
    try:
        await _post(request, body, envelope, visits)
    except UpstreamUnavailable as down:
        request.unavailable(down, message.raw_id(envelope))


async def _post(request: McpRequest, body: bytes, envelope: Envelope, visits: Visits) -> None:
    """One message. Raises `UpstreamUnavailable`."""
    counted = envelope.method == "tools/call" and not request.checking
    with Refusals(request.target.counts if counted else None):
        passthrough = await request.target.passthrough()
        if passthrough is not None:
            with _counted(request, visits, passthrough):
                await relay(request, passthrough, body, counted=counted)
            return
        parsed: dict[str, Any] = json.loads(body)
        refusal = stateless_protocol.judge(request.turn.lines, parsed)
        if refusal is not None:
            _refuse(request, refusal, envelope)
            return
        session, native = await request.target.once(request.owner)
        session.checking, session.open = request.checking, 1
    exchange = Exchange()
    try:
        if request.turn.when_lost(exchange.abandon):
            with _counted(request, visits, session):
                if native:
                    await _native(request, session, body, envelope, parsed, exchange)
                else:
                    await _foreign(request, session, body, envelope, parsed, exchange)
    finally:
        request.turn.on_lost = None
        await session.close()


def _counted(request: McpRequest, visits: Visits, served: Served) -> AbstractContextManager[None]:
    """The time in which a client is there because of this request; a check of the watchdog is none."""
    return nullcontext() if request.checking else visits.begin(request.who, served)


async def _native(
    request: McpRequest, session: OneSession, body: bytes, envelope: Envelope, parsed: dict[str, Any], exchange: Exchange
) -> None:
    """A request for a member that speaks this wire itself. Raises `UpstreamUnavailable`."""
    refusal = _gone(envelope) or await _mirrored(request, session, parsed, native=True)
    if refusal is not None:
        _refuse(request, refusal, envelope)
        return
    await session.take(body, envelope, exchange)
    await _reply(request, exchange)


async def _foreign(
    request: McpRequest, session: OneSession, body: bytes, envelope: Envelope, parsed: dict[str, Any], exchange: Exchange
) -> None:
    """A request for a member that only knows handshakes. Raises `UpstreamUnavailable`."""
    refusal = _gone(envelope)
    if refusal is None and request.target.plain_until <= time.monotonic():
        refusal = await _mirrored(request, session, parsed, native=False)
    if refusal is not None:
        _refuse(request, refusal, envelope)
    elif envelope.method == "server/discover":
        request.respond(200, message.result(message.raw_id(envelope) or b"null", await request.target.discover()))
    else:
        await _translated(request, session, body, envelope, parsed, exchange)


def _gone(envelope: Envelope) -> stateless_protocol.Refusal | None:
    """The refusal of a method that this wire has no more."""
    if envelope.method not in stateless_protocol.GONE:
        return None
    return stateless_protocol.Refusal(message.METHOD_NOT_FOUND, f"Method not found: {envelope.method}")


def _refuse(request: McpRequest, refusal: stateless_protocol.Refusal, envelope: Envelope) -> None:
    request.respond(stateless_protocol.status(refusal.code), refusal.error(message.raw_id(envelope)))


def _acknowledge(request: McpRequest, envelope: Envelope) -> None:
    """This wire has no notifications of clients that mean anything, and no answers to servers."""
    if envelope.id is not UNSET or envelope.method is UNSET:
        request.respond(400, message.error(None, message.INVALID_REQUEST, "The body must be one request or notification"))
        return
    refusal = stateless_protocol.unsupported(request.headers.get(b"mcp-protocol-version", b"").decode("latin-1"))
    if refusal is not None:
        request.respond(400, refusal.error(None))
    else:
        request.respond(202)


async def _translated(
    request: McpRequest, session: OneSession, body: bytes, envelope: Envelope, parsed: dict[str, Any], exchange: Exchange
) -> None:
    """A request for a member that only knows handshakes."""
    method = str(envelope.method)
    if method == "subscriptions/listen":
        await listen(session, parsed, envelope, exchange)
        await _reply(request, exchange)
        return
    session.identity = interactive_pool.client_identity(
        request.owner, parsed["params"]["_meta"], stateless_protocol.CAPABILITIES_KEY, stateless_protocol.CLIENT_KEY
    )
    sink = QuietLog(exchange, parsed["params"]["_meta"].get(stateless_protocol.LEVEL_KEY))
    await session.take(translation.bare(body), envelope, Filter(sink, lambda data: translation.completed(data, method)))
    await _reply(request, exchange)


async def _reply(request: McpRequest, exchange: Exchange) -> None:
    messages = await exchange.more(KEEP_ALIVE)
    if exchange.done and len(messages) == 1:
        request.respond(stateless_protocol.status(_code(messages[0])), messages[0])
    elif not exchange.done or messages:
        await stream(request, exchange, messages)


def _code(answer: bytes) -> int | None:
    """The code of an answer that is an error; `None` also when the member wrote no whole number there."""
    span = json_edit.locate(answer, ("error", "code"))
    try:
        return int(answer[span[0] : span[1]]) if span is not None else None
    except ValueError:
        return None


async def _mirrored(
    request: McpRequest, session: ClientSession, parsed: dict[str, Any], *, native: bool
) -> stateless_protocol.Refusal | None:
    """Check `Mcp-Param-*` headers against the tool's own schema, which the member is asked for.

    Of one that only knows handshakes, and none of whose tools wants such a header, that is remembered for `PLAIN_FOR`.
    """
    arguments = parsed["params"].get("arguments")
    if parsed["method"] != "tools/call" or not isinstance(arguments, dict):
        return None
    headers = request.turn.lines
    if not arguments and not any(name.startswith(b"mcp-param-") for name, _ in headers):
        return None
    name: object = parsed["params"].get("name")
    found: list[bytes] = []
    cursor: object = None
    for _ in range(PAGES):
        answer = await _page(session, parsed["params"]["_meta"], cursor, native=native)
        found += tools.items(answer, "tools")
        span = json_edit.locate(answer, ("result", "nextCursor"))
        cursor = json.loads(answer[span[0] : span[1]]) if span is not None else None
        if not isinstance(cursor, str):
            if not native and json_edit.locate(answer, ("result", "tools")) and not any(b"x-mcp-header" in tool for tool in found):
                request.target.plain_until = time.monotonic() + PLAIN_FOR
            break
    objects = [cast("dict[str, Any]", tool) for tool in map(json.loads, found) if isinstance(tool, dict)]
    schema = next((tool.get("inputSchema") for tool in objects if tool.get("name") == name), None)
    return stateless_protocol.mirrored(schema, cast("dict[str, Any]", arguments), headers)


async def _page(session: ClientSession, meta: dict[str, Any], cursor: object, *, native: bool) -> bytes:
    """The answer to `tools/list`, from a cursor on where there is one; what the member says before it is left.

    Raises `UpstreamUnavailable`.
    """
    params = {"_meta": meta} if cursor is None else {"_meta": meta, "cursor": cursor}
    asked = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": params}).encode()
    asked = asked if native else translation.bare(asked)
    listing = PendingReply()
    await session.take(asked, message.peek(asked), listing)
    return await listing.within(KEEP_ALIVE)
