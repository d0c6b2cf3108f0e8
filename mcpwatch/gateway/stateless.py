"""The stateless wire (2026-07-28) as a client sees it: one POST, one answer.

Owns what a request of this wire is answered. Must not know routing, authorization or sessions that last.
"""

from __future__ import annotations

import json
from typing import Any, cast

from msgspec import UNSET

from mcpwatch.gateway import eras, message, modern, seats, tools
from mcpwatch.gateway.changes import listen
from mcpwatch.gateway.exchange import KEEP_ALIVE, Exchange, Request, stream
from mcpwatch.gateway.life import Down
from mcpwatch.gateway.message import Envelope
from mcpwatch.gateway.passage import relay
from mcpwatch.gateway.session import Filter
from mcpwatch.gateway.target import ClientSession, OneSession


async def post(request: Request, body: bytes, envelope: Envelope) -> None:
    """Answer one POST of this wire."""
    if envelope.id is UNSET or envelope.method is UNSET:
        await _acknowledge(request, envelope)
        return
    passage = await request.target.passage()
    if passage is not None:
        await relay(request, passage, body)
        return
    parsed: dict[str, Any] = json.loads(body)
    refusal = modern.judge(request.turn.lines, parsed)
    if refusal is not None:
        await request.respond(modern.status(refusal.code), refusal.error(message.raw_id(envelope)))
        return
    session, native = await request.target.once(request.owner)
    exchange = Exchange()
    try:
        if not request.turn.when_lost(exchange.abandon):
            return
        if envelope.method in modern.GONE:
            refusal = modern.Refusal(message.METHOD_NOT_FOUND, f"Method not found: {envelope.method}")
        elif native:
            refusal = await _mirrored(request, session, parsed)
        if refusal is not None:
            await request.respond(modern.status(refusal.code), refusal.error(message.raw_id(envelope)))
        elif not native and envelope.method == "server/discover":
            await request.respond(200, message.result(message.raw_id(envelope) or b"null", await request.target.discover()))
        elif native:
            await session.take(body, envelope, exchange)
            await _reply(request, exchange)
        else:
            await _translated(request, session, body, envelope, parsed, exchange)
    except Down as down:
        await request.unavailable(down, message.raw_id(envelope))
    finally:
        request.turn.on_lost = None
        await session.close()


async def _acknowledge(request: Request, envelope: Envelope) -> None:
    """This wire has no notifications of clients that mean anything, and no answers to servers."""
    if envelope.id is not UNSET or envelope.method is UNSET:
        await request.respond(400, message.error(None, message.INVALID_REQUEST, "The body must be one request or notification"))
        return
    refusal = modern.unsupported(request.headers.get(b"mcp-protocol-version", b"").decode("latin-1"))
    if refusal is not None:
        await request.respond(400, refusal.error(None))
    else:
        await request.respond(202)


async def _translated(
    request: Request, session: OneSession, body: bytes, envelope: Envelope, parsed: dict[str, Any], exchange: Exchange
) -> None:
    """A request for a member that only knows handshakes."""
    method = str(envelope.method)
    if method == "subscriptions/listen":
        await listen(session, parsed, envelope, exchange)
        await _reply(request, exchange)
        return
    session.guest = seats.guest(request.owner, parsed["params"]["_meta"], modern.CAPABILITIES_KEY, modern.CLIENT_KEY)
    await session.take(eras.bare(body), envelope, Filter(exchange, lambda data: eras.completed(data, method)))
    await _reply(request, exchange)


async def _reply(request: Request, exchange: Exchange) -> None:
    messages = await exchange.more(KEEP_ALIVE)
    if exchange.done and len(messages) == 1:
        body = messages[0]
        span = message.locate(body, ("error", "code"))
        await request.respond(modern.status(int(body[span[0] : span[1]]) if span else None), body)
    elif not exchange.done or messages:
        await stream(request, exchange, messages)


async def _mirrored(request: Request, session: ClientSession, parsed: dict[str, Any]) -> modern.Refusal | None:
    """Check `Mcp-Param-*` headers against the tool's own schema, which the member is asked for."""
    arguments = parsed["params"].get("arguments")
    if parsed["method"] != "tools/call" or not isinstance(arguments, dict):
        return None
    headers = request.turn.lines
    if not arguments and not any(name.startswith(b"mcp-param-") for name, _ in headers):
        return None
    asked = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {"_meta": parsed["params"]["_meta"]}}).encode()
    listing = Exchange()
    await session.take(asked, message.peek(asked), listing)
    answers = await listing.more(KEEP_ALIVE)
    name: object = parsed["params"].get("name")
    listed: list[dict[str, Any]] = [json.loads(item) for body in answers for item in tools.items(body, "tools")]
    schema = next((tool.get("inputSchema") for tool in listed if tool.get("name") == name), None)
    return modern.mirrored(schema, cast("dict[str, Any]", arguments), headers)
