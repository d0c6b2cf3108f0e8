"""A real server by FastMCP, run by the Python of that part: `PYTHON fast.py sse|http PORT`."""

# pyright: basic, reportMissingImports=false

import sys

from fastmcp import FastMCP

server = FastMCP("fast")


@server.tool
def echo(text: str) -> str:
    """Say it again."""
    return text


server.run(transport=sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), show_banner=False)
