"""The link to an upstream on the stateless wire (2026-07-28): every request stands for itself.

Owns its headers and the schemas that some of them come from. Must not know sessions of the gateway or restarts.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from msgspec import Raw

from mcpwatch.gateway.protocol import json_edit, message, stateless_protocol, tools
from mcpwatch.gateway.protocol.message import MODERN
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.remote import JSON, STREAM
from mcpwatch.gateway.upstream.streamable_link import HttpLink
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import BY_DEFAULT, Trust

PAGES = 100
"""Pages of a list of tools that are read for their schemas."""
_METHOD = re.compile(r"[\w/.$-]+", re.ASCII)
"""What may be repeated in a header."""


class StatelessLink(HttpLink):
    """An upstream on the stateless wire. Messages come with their envelope."""

    wire = "stateless"

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends, trust: Trust = BY_DEFAULT) -> None:
        super().__init__(url, headers, ends, trust)
        self._posts: dict[int, asyncio.Task[None]] = {}
        self._schemas: dict[str, Any] | None = None

    def send(self, data: bytes, number: int | None) -> int:
        """Post one request. Notifications mean nothing on this wire; a cancelled request is given up by closing its answer."""
        if self._closed:
            return 0
        if number is not None:
            self._posts[number] = self._go(self._post(data, number, None), "stateless request", number)
            self._posts[number].add_done_callback(lambda _: self._posts.pop(number, None))
            return 1
        envelope = message.peek(data)
        params = envelope.params
        if envelope.method == "notifications/cancelled" and isinstance(params, message.Params):
            post = self._posts.get(int(bytes(params.request_id))) if isinstance(params.request_id, Raw) else None
            if post is not None:
                post.cancel()
        return 1

    async def _post(self, data: bytes, number: int | None, prior: asyncio.Event | None) -> None:  # noqa: ARG002
        body: dict[str, Any] = json.loads(data)
        if not _METHOD.fullmatch(str(body["method"])):
            self._refuse(number, "no such method", message.METHOD_NOT_FOUND)
            return
        try:
            response = await self._request(body, data)
            if response.status == 400 and body["method"] == "tools/call":
                refusal = await response.read()
                span = json_edit.locate(refusal, ("error", "code"))
                if span is None or refusal[span[0] : span[1]] != b"%d" % stateless_protocol.HEADER_MISMATCH:
                    self._hear(refusal, number, False, data)
                    return
                self._schemas = None  # they have changed, and nothing has been done yet
                response = await self._request(body, data)
            await self._answer(response, data, number)
        except HttpFailed as error:
            self._failed(number, error)

    async def _request(self, body: dict[str, Any], data: bytes) -> Response:
        method, params = body["method"], body["params"]
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {STREAM}", "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in stateless_protocol.NAMED:
            headers["Mcp-Name"] = stateless_protocol.encoded(str(params.get(stateless_protocol.NAMED[method], "")))
        if method == "tools/call" and params.get("arguments"):
            schema = (await self._learned()).get(str(params.get("name")))
            headers |= dict(stateless_protocol.mirror(schema, params["arguments"]))
        return await self._client.request("POST", self._url, headers, data)

    async def _learned(self) -> dict[str, Any]:
        """The schema of each tool, asked for once and again when a header was refused."""
        if self._schemas is None:
            found: dict[str, Any] = {}
            params: dict[str, Any] = dict(stateless_protocol.QUESTION)
            for _ in range(PAGES):
                asked = {"jsonrpc": "2.0", "id": "schemas", "method": "tools/list", "params": params}
                response = await self._request(asked, json.dumps(asked).encode())
                answer = await _answer_of(response)
                for item in tools.items(answer, "tools"):
                    tool: dict[str, Any] = json.loads(item)
                    found[str(tool.get("name"))] = tool.get("inputSchema")
                span = json_edit.locate(answer, ("result", "nextCursor"))
                if span is None:
                    break
                params = stateless_protocol.QUESTION | {"cursor": json.loads(answer[span[0] : span[1]])}
            self._schemas = found
        return self._schemas


async def _answer_of(response: Response) -> bytes:
    """The one message that matters of an answer, JSON or stream."""
    if response.media != STREAM:
        return await response.read()
    try:
        async for event in response.events():
            if event.data and json_edit.locate(event.data, ("result",)) is not None:
                return event.data
    finally:
        response.close()
    return b"{}"
