"""A native SSE server on the official SDK, standing where postgres-mcp stands in the seed fleet."""

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
    server.run("sse", host="0.0.0.0", port=int(sys.argv[1]))  # inside a container
