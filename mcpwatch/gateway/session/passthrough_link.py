"""The way to a URL upstream that may speak the stateless wire itself, and the question whether it does.

Owns its client. Must not know sessions or requests of clients.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from mcpwatch.gateway.protocol import message, stateless_protocol
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import BY_DEFAULT, Trust

DISCOVER_LIMIT = 10.0
"""Seconds for the question whether an upstream speaks this wire."""


class Passthrough:
    """The way to one upstream on the stateless wire."""

    def __init__(
        self, name: str, url: str, headers: tuple[tuple[str, str], ...], trust: Trust = BY_DEFAULT, counts: Counts | None = None
    ) -> None:
        self.name = name
        self.url = url
        self.served_by = (name,)
        self.counts = counts or Counts()
        self.client = HttpClient(url, headers, trust)


async def speaks(passthrough: Passthrough) -> bool:
    """Whether the upstream answers `server/discover` with the version of this wire. Raises `UpstreamUnavailable`."""
    body = message.request(0, "server/discover", stateless_protocol.QUESTION)
    headers = {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": message.MODERN, "Mcp-Method": "server/discover",
    }  # fmt: skip
    try:
        async with asyncio.timeout(DISCOVER_LIMIT):
            response = await passthrough.client.request("POST", passthrough.url, headers, body)
            text = await response.read()
    except (HttpFailed, TimeoutError) as error:
        reason = error.reason if isinstance(error, HttpFailed) else "did not answer server/discover"
        raise UpstreamUnavailable(passthrough.name, reason, 1) from None
    with suppress(ValueError, AttributeError, TypeError):
        return message.MODERN in json.loads(text).get("result", {}).get("supportedVersions", [])
    return False
