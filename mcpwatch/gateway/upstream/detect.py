"""Which wire an upstream speaks, found out by asking.

Owns the question. Must not know links or sessions.
"""

from __future__ import annotations

import asyncio

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.message import HANDSHAKE
from mcpwatch.gateway.upstream.link import LinkFailed
from mcpwatch.gateway.upstream.remote import JSON, STREAM
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import BY_DEFAULT, Trust
from mcpwatch.model.wire import names_sse


async def detect(url: str, headers: tuple[tuple[str, str], ...], trust: Trust = BY_DEFAULT, limit: float = 10.0) -> str:
    """The wire that an upstream speaks: `sse`, `http` or `stateless`. Raises `LinkFailed` when it cannot be reached."""
    if names_sse(url):
        return "sse"
    client = HttpClient(url, headers, trust)
    params = {"protocolVersion": HANDSHAKE[-1], "capabilities": {}, "clientInfo": {"name": "mcpwatch-gateway", "version": "1"}}
    try:
        async with asyncio.timeout(limit):
            response = await client.request(
                "POST", url, {"Content-Type": JSON, "Accept": f"{JSON}, {STREAM}"}, message.request(0, "initialize", params)
            )
            if response.unreadable:
                response.close()
                raise LinkFailed(response.unreadable)
            session = response.headers.get("mcp-session-id")
            refused = b"" if response.status == 200 else await response.read()
            response.close()
            if session is not None:
                farewell = await client.request("DELETE", url, {"Mcp-Session-Id": session})
                farewell.close()
    except HttpFailed as error:
        raise LinkFailed(error.reason) from None
    except TimeoutError:
        raise LinkFailed(f"no answer to initialize within {limit:g} s") from None
    finally:
        client.close()
    if b"-32601" in refused or b"-32022" in refused or b"-32020" in refused or b"-32602" in refused:
        return "stateless"
    return "sse" if response.status in {404, 405} else "http"
