"""A real server by the official SDK, on a free port: `python -m tests.servers.official sse|streamable-http PORT`."""

from __future__ import annotations

import sys
from typing import Literal, cast

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("official")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.prompt()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello {name}"


if __name__ == "__main__":
    server.run(cast('Literal["sse", "streamable-http"]', sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
