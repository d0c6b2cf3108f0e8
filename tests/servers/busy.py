"""A real server by the official SDK, over stdio, whose tool holds its one thread for as long as it is told."""

from __future__ import annotations

import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("busy")


@server.tool()
async def work(seconds: float) -> str:
    """Answer nobody for so many seconds."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is what it is for
    return "done"


if __name__ == "__main__":
    server.run("stdio")
