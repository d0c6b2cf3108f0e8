"""Requests of the stateless wire passed on as they are, to a URL upstream that speaks it itself.

Owns which headers go along. Must not know sessions: this wire has none.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from mcpwatch.gateway import message, modern
from mcpwatch.gateway.asgi import Headers, end_stream
from mcpwatch.gateway.exchange import Request
from mcpwatch.gateway.http import Client, HttpFailed, Response
from mcpwatch.gateway.upstream import Down

HEAD_LIMIT = 600.0
"""Seconds until the upstream must have begun its answer."""
DISCOVER_LIMIT = 10.0
"""Seconds for the question whether an upstream speaks this wire."""

_ALONG = (b"accept", b"content-type", b"traceparent", b"tracestate")
_BACK = ("content-type", "cache-control", "retry-after", "x-accel-buffering")


class Passage:
    """The way to one upstream on the stateless wire."""

    def __init__(self, name: str, url: str, headers: tuple[tuple[str, str], ...]) -> None:
        self.name = name
        self.url = url
        self.client = Client(url, headers)


async def speaks(passage: Passage) -> bool:
    """Whether the upstream answers `server/discover` with the version of this wire. Raises `Down`."""
    body = message.request(0, "server/discover", modern.QUESTION)
    headers = {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": message.MODERN, "Mcp-Method": "server/discover",
    }  # fmt: skip
    try:
        async with asyncio.timeout(DISCOVER_LIMIT):
            response = await passage.client.request("POST", passage.url, headers, body)
            text = await response.read()
    except (HttpFailed, TimeoutError) as error:
        raise Down(passage.name, str(error) or "did not answer server/discover", 1) from None
    with suppress(ValueError, AttributeError, TypeError):
        return message.MODERN in json.loads(text).get("result", {}).get("supportedVersions", [])
    return False


async def relay(request: Request, passage: Passage, body: bytes) -> None:
    """Pass one POST on and its answer back, as it comes. A client that goes away ends it. Raises `Down`."""
    lines: list[tuple[bytes, bytes]] = request.scope["headers"]
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in lines if name in _ALONG or name.startswith(b"mcp-")
    }
    task = asyncio.current_task()
    request.scope["state"]["connection"].on_lost = lambda: task.cancel() if task is not None else None
    try:
        async with asyncio.timeout(HEAD_LIMIT):
            response = await passage.client.request("POST", passage.url, headers, body)
    except (HttpFailed, TimeoutError) as error:
        raise Down(passage.name, str(error) or f"did not begin an answer within {HEAD_LIMIT:g} s", 1) from None
    try:
        await _copy(request, response)
    except (HttpFailed, asyncio.CancelledError):
        request.scope["state"]["connection"].transport.close()
    finally:
        request.scope["state"]["connection"].on_lost = None
        response.close()


async def _copy(request: Request, response: Response) -> None:
    back: Headers = [(name.encode(), response.headers[name].encode("latin-1")) for name in _BACK if name in response.headers]
    if response.media == "text/event-stream":
        await request.send({"type": "http.response.start", "status": response.status, "headers": [*request.extra, *back]})
        async for part in response.chunks():
            await request.send({"type": "http.response.body", "body": part, "more_body": True})
        await end_stream(request.send)
        return
    text = await response.read()
    head = [*request.extra, *back, (b"content-length", b"%d" % len(text))]
    await request.send({"type": "http.response.start", "status": response.status, "headers": head})
    await request.send({"type": "http.response.body", "body": text, "more_body": False})
