"""FastMCP's own proxy in front of the echo server; run by the Python of FastMCP's venv."""

# pyright: basic, reportMissingImports=false
import json
import sys
from pathlib import Path

from fastmcp.server import create_proxy

file, port, wire = sys.argv[1:]
config = json.loads(Path(file).read_text())
proxy = create_proxy(config)
proxy.run(transport="sse" if wire == "sse" else "http", host="127.0.0.1", port=int(port), show_banner=False)
