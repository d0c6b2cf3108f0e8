"""Requests of the stateless wire passed on as they are, to a URL upstream that speaks it itself.

Owns which headers go along. Must not know sessions: this wire has none.
"""

from __future__ import annotations

import asyncio
import functools
import json
from contextlib import suppress

from mcpwatch.gateway.protocol import message, stateless_protocol
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.tool_outcome import CountedStream, count
from mcpwatch.gateway.upstream.counts import Counts
from mcpwatch.gateway.upstream.http_client import Client, Response
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.gateway.upstream.sse_parser import HttpFailed
from mcpwatch.trust import BY_DEFAULT, Trust

HEAD_LIMIT = 600.0
"""Seconds until the upstream must have begun its answer."""
DISCOVER_LIMIT = 10.0
"""Seconds for the question whether an upstream speaks this wire."""

_ALONG = (b"accept", b"content-type", b"traceparent", b"tracestate")
_REFUSED = 400
_BACK = ("cache-control", "retry-after")


class Passthrough:
    """The way to one upstream on the stateless wire."""

    def __init__(
        self, name: str, url: str, headers: tuple[tuple[str, str], ...], trust: Trust = BY_DEFAULT, counts: Counts | None = None
    ) -> None:
        self.name = name
        self.url = url
        self.served_by = (name,)
        self.counts = counts or Counts()
        self.client = Client(url, headers, trust)


async def speaks(passage: Passthrough) -> bool:
    """Whether the upstream answers `server/discover` with the version of this wire. Raises `Down`."""
    body = message.request(0, "server/discover", stateless_protocol.QUESTION)
    headers = {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": message.MODERN, "Mcp-Method": "server/discover",
    }  # fmt: skip
    try:
        async with asyncio.timeout(DISCOVER_LIMIT):
            response = await passage.client.request("POST", passage.url, headers, body)
            text = await response.read()
    except (HttpFailed, TimeoutError) as error:
        reason = error.reason if isinstance(error, HttpFailed) else "did not answer server/discover"
        raise UpstreamUnavailable(passage.name, reason, 1) from None
    with suppress(ValueError, AttributeError, TypeError):
        return message.MODERN in json.loads(text).get("result", {}).get("supportedVersions", [])
    return False


async def relay(request: McpRequest, passage: Passthrough, body: bytes, *, counted: bool = False) -> None:
    """Pass one POST on and its answer back, as it comes; `counted`: it is a tool call. A client that goes away ends it.

    Raises `Down`.
    """
    lines = request.turn.lines
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in lines if name in _ALONG or name.startswith(b"mcp-")
    }
    task = asyncio.current_task()
    assert task is not None
    if not request.turn.when_lost(functools.partial(task.cancel, "client")):
        return
    try:
        async with asyncio.timeout(HEAD_LIMIT):
            response = await passage.client.request("POST", passage.url, headers, body)
        if response.oddity:
            response.close()
            raise HttpFailed(response.oddity, connected=True)
    except TimeoutError:
        await _failed(request, passage, body, counted, HttpFailed(f"did not begin an answer within {HEAD_LIMIT:g} s", sent=True))
        return
    except HttpFailed as error:
        await _failed(request, passage, body, counted, error)
        return
    try:
        await _copy(request, response, passage.counts if counted else None)
    except HttpFailed as error:
        if request.turn.begun:
            request.turn.cut()
        else:
            await _failed(request, passage, body, counted, error)
    except asyncio.CancelledError:
        request.turn.cut()
    finally:
        request.turn.on_lost = None
        response.close()


async def _failed(request: McpRequest, passage: Passthrough, body: bytes, counted: bool, error: HttpFailed) -> None:
    """Tell the client; only what surely was not executed is said to be worth another try. Raises `UpstreamUnavailable`."""
    if not error.sent:
        raise UpstreamUnavailable(passage.name, error.reason, 1) from None
    try:
        raw_id = message.raw_id(message.peek(body))
    except message.Malformed:
        raw_id = None
    data = {"member": passage.name} | error.data
    if counted:
        passage.counts.tool_calls += 1
        passage.counts.tool_errors += 1
    request.respond(502, message.error(raw_id, message.MEMBER_DOWN, f"member {passage.name!r}: {error}", data))


async def _copy(request: McpRequest, response: Response, counts: Counts | None) -> None:
    turn, status = request.turn, response.status
    if response.media == "text/event-stream":
        pipe, counted = request.stream(), CountedStream(counts) if counts is not None else None
        async for part in response.chunks():
            pipe.raw(part)
            if counted is not None:
                counted.feed(part)
            await pipe.room()
            if pipe.ended.done():
                break
        pipe.finish()
        return
    text = await response.read()
    if counts is not None and status >= _REFUSED:
        counts.tool_calls += 1
        counts.tool_errors += 1
    elif counts is not None:
        count(text, counts)
    back = [(name.encode(), response.headers[name].encode("latin-1")) for name in _BACK if name in response.headers]
    media = response.headers.get("content-type", "application/json").encode("latin-1")
    turn.answer(status, text, media, [*request.extra, *back])
