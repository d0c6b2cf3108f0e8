"""Requests of the stateless wire passed on as they are, to a URL upstream that speaks it itself.

Owns which headers go along. Must not know sessions: this wire has none.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable

from mcpwatch.gateway.http.http_exchange import OpenStream
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.passthrough_link import Passthrough
from mcpwatch.gateway.session.tool_outcome import CountedStream, count
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.failure import HttpFailed

HEAD_LIMIT = 600.0
"""Seconds until the upstream must have begun its answer."""

_ALONG = (b"accept", b"content-type", b"traceparent", b"tracestate")
_REFUSED = 400
_BACK = ("cache-control", "retry-after")


async def relay(request: McpRequest, passthrough: Passthrough, body: bytes, *, counted: bool = False) -> None:
    """Pass one POST on and its answer back, as it comes; `counted`: it is a tool call. A client that goes away ends it.

    Raises `UpstreamUnavailable`.
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
            response = await passthrough.client.request("POST", passthrough.url, headers, body)
        if response.oddity:
            response.close()
            raise HttpFailed(response.oddity, connected=True)
    except TimeoutError:
        late = HttpFailed(f"did not begin an answer within {HEAD_LIMIT:g} s", sent=True)
        await _failed(request, passthrough, body, counted, late)
        return
    except HttpFailed as error:
        await _failed(request, passthrough, body, counted, error)
        return
    try:
        await _copy(request, response, passthrough.counts if counted else None)
    except HttpFailed as error:
        if request.turn.begun:
            request.turn.cut()
        else:
            await _failed(request, passthrough, body, counted, error)
    except asyncio.CancelledError:
        request.turn.cut()
    finally:
        request.turn.on_lost = None
        response.close()


async def _failed(request: McpRequest, passthrough: Passthrough, body: bytes, counted: bool, error: HttpFailed) -> None:
    """Tell the client; only what surely was not executed is said to be worth another try. Raises `UpstreamUnavailable`."""
    if not error.sent:
        raise UpstreamUnavailable(passthrough.name, error.reason, 1) from None
    try:
        raw_id = message.raw_id(message.peek(body))
    except message.Malformed:
        raw_id = None
    data = {"member": passthrough.name} | error.data
    if counted:
        passthrough.counts.tool_calls += 1
        passthrough.counts.tool_errors += 1
    request.respond(502, message.error(raw_id, message.MEMBER_DOWN, f"member {passthrough.name!r}: {error}", data))


async def _copy(request: McpRequest, response: Response, counts: Counts | None) -> None:
    turn, status = request.turn, response.status
    if response.media == "text/event-stream":
        pipe, counted = request.stream(), CountedStream(counts) if counts is not None else None
        await pass_stream(response, pipe, counted.feed if counted is not None else None)
        return
    text = await response.read()
    if counts is not None and status >= _REFUSED:
        counts.tool_calls += 1
        counts.tool_errors += 1
    elif counts is not None:
        count(text, counts)
        counts.lately.note(tool=True)
    back = headers_back(response, _BACK)
    media = response.headers.get("content-type", "application/json").encode("latin-1")
    turn.answer(status, text, media, [*request.extra, *back])


async def pass_stream(response: Response, pipe: OpenStream, heard: Callable[[bytes], object] | None = None) -> None:
    """The rest of an event stream, as it comes, to a client until one of them ends it; `heard` gets each part too."""
    async for part in response.chunks():
        pipe.raw(part)
        if heard is not None:
            heard(part)
        await pipe.room()
        if pipe.ended.done():
            break
    pipe.finish()


def headers_back(response: Response, names: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Those of these headers that an answer has, as a client gets them."""
    return [(name.encode(), response.headers[name].encode("latin-1")) for name in names if name in response.headers]
