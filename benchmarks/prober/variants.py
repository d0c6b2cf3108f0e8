"""The ways to check a server that are compared: mcpwatch's prober, the official SDK's client, and a floor of raw asyncio streams.

Each is a coroutine that makes one full check: connect, endpoint, initialize, initialized, tools/list, close.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[], Awaitable[None]]


def mcpwatch(wire: str, url: str, routes: int = 1) -> Check:
    """Our prober, as the daemon uses it, on a wire; over many routes in turn if there are many."""
    from mcpwatch.checks import Prober
    from mcpwatch.model.probe import Outcome, Target
    from mcpwatch.model.spec import CheckSpec

    prober = Prober(concurrent=2000, per_host=2000)
    spec = CheckSpec("mcp", timeout=60)
    targets = cycle([Target(f"{url}?{n}", wire) for n in range(routes)])  # pyright: ignore[reportArgumentType]

    async def check() -> None:
        result = await prober.probe(spec, next(targets), "direct")
        assert result.outcome is Outcome.SUCCESS, result

    return check


def sdk(url: str) -> Check:
    """The official SDK's client as it comes."""
    from mcp import ClientSession
    from mcp.client.sse import sse_client

    async def check() -> None:
        async with sse_client(url, timeout=60) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            await session.list_tools()

    return check


def raw(url: str) -> Check:
    """The least that asyncio streams can do: no bounds, no symptoms, no parser worth the name."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80

    async def check() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readline()
        endpoint = (await reader.readline())[6:].decode().strip()
        await reader.readline()
        post_reader, post_writer = await asyncio.open_connection(host, port)

        async def post(body: dict[str, Any]) -> None:
            data = json.dumps({"jsonrpc": "2.0", **body}).encode()
            head = (
                f"POST {endpoint} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            post_writer.write(head.encode() + data)
            await post_reader.readuntil(b"\r\n\r\n")

        async def answer() -> Any:
            await reader.readline()
            data = (await reader.readline())[6:]
            await reader.readline()
            return json.loads(data)["result"]

        await post(
            {
                "id": 1,
                "method": "initialize",
                "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
            }
        )
        await answer()
        await post({"method": "notifications/initialized"})
        await post({"id": 2, "method": "tools/list", "params": {}})
        assert len((await answer())["tools"]) == 10
        post_writer.close()
        writer.close()

    return check


def named(name: str, base: str) -> Check:
    """The variant of that name against a mock at `base`."""
    match name:
        case "mcpwatch-sse":
            return mcpwatch("sse", f"{base}/sse")
        case "mcpwatch-http":
            return mcpwatch("http", f"{base}/mcp")
        case "mcpwatch-stateless":
            return mcpwatch("stateless", f"{base}/mcp")
        case "10-routes" | "100-routes" | "1000-routes" | "10000-routes":
            return mcpwatch("sse", f"{base}/sse", int(name.partition("-")[0]))
        case "sdk-sse":
            return sdk(f"{base}/sse")
        case "raw-sse":
            return raw(f"{base}/sse")
        case _:
            raise ValueError(name)
