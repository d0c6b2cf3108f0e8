"""`mcp`: the MCP server on standard input and output or, started by the daemon, on a unix socket. Asks the daemon as others do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread

from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call, stream
from mcpwatch.model.errors import McpwatchError
from mcpwatch.web.mcp.server import McpServer, serving
from mcpwatch.web.mcp.tool import Ask
from mcpwatch.web.mcp.tools import Offer

RETRY = 5.0
"""Seconds until a daemon that is away is asked again for its events."""
_HEALTH = frozenset({"member_changed", "route_changed", "diagnosed", "alert_changed"})


def serve(*, operate: bool, socket: Path | None) -> int:
    """Serve until standard input ends."""
    offer = Offer.of(operate=operate and _may_operate())
    server = McpServer(_asking, _changes, offer)
    asyncio.run(_on_socket(server, socket) if socket is not None else server.run_stdio())
    # A thread may still wait for an event of the daemon; nothing of this process is left to be saved.
    sys.stdout.flush()
    os._exit(exits.OK)


def _may_operate() -> bool:
    """Whether the watchdog would let us: over `--url` the token says."""
    if not ControlSettings.url:
        return True
    return call("GET", "/whoami")["role"] == "operate"


def _asking(by: str) -> Ask:
    async def ask(method: str, path: str, body: dict[str, Any] | None) -> Any:
        return await anyio.to_thread.run_sync(lambda: call(method, path, body, by=by), abandon_on_cancel=True)

    return ask


async def _changes() -> AsyncIterator[None]:
    """One item for each burst of changes of the fleet's health; a daemon that is away is waited for."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def follow() -> None:
        for fact in stream("/events", limit="0", follow="1"):
            if fact.get("fact") in _HEALTH:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(changed.set)

    async def keep() -> None:
        while True:
            with contextlib.suppress(McpwatchError, ValueError):
                await anyio.to_thread.run_sync(follow, abandon_on_cancel=True)
            await asyncio.sleep(RETRY)

    keeping = loop.create_task(keep(), name="events of the daemon")
    try:
        while True:
            await changed.wait()
            await asyncio.sleep(0.2)
            changed.clear()
            yield None
    finally:
        keeping.cancel()


async def _on_socket(server: McpServer, socket: Path) -> None:
    """Serve HTTP on a unix socket until standard input ends: then the daemon that started us is gone."""
    from mcpwatch.web.serve import PageServer, listen_unix

    listener = listen_unix(socket)
    async with serving(server) as app:
        served = PageServer(app, listener)
        loop = asyncio.get_running_loop()
        ended = loop.create_task(asyncio.to_thread(sys.stdin.buffer.read), name="standard input")
        running = loop.create_task(served.run(), name="serve")
        await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
        served.stop()
        await asyncio.wait({running}, timeout=2.0)
    with contextlib.suppress(OSError):
        os.unlink(socket)  # noqa: PTH108
