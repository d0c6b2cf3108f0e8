"""The echo server without any gateway: the official SDK's own server, on one wire. `direct.py PORT sse|mcp`."""

from __future__ import annotations

import logging
import sys

from mcp.server.mcpserver import MCPServer

logging.disable(logging.WARNING)
server = MCPServer("echo", log_level="ERROR")


@server.tool()
def echo(text: str) -> str:
    """Echo."""
    return text


server.run("sse" if sys.argv[2] == "sse" else "streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
