"""A native SSE server on the official SDK, standing where postgres-mcp stands in the reference fleet."""

import sys

from mcp.server import MCPServer

server = MCPServer("postgres-like")


@server.tool()
def list_schemas() -> list[str]:
    """The schemas of the database."""
    return ["public", "audit"]


@server.tool(annotations={"readOnlyHint": True})
def describe_table(table: str) -> str:
    """The columns of one table."""
    return f"{table}(id integer)"


if __name__ == "__main__":
    host = sys.argv[2] if len(sys.argv) > 2 else "0.0.0.0"  # every address: inside a container
    server.run("sse", host=host, port=int(sys.argv[1]))
