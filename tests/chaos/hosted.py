"""A hosted member for chaos: an MCP server on stdio whose one tool gives its pid and writes a numbered line before each answer."""

import json
import os
import sys
import time
from typing import Any

TOOL = {
    "name": "who",
    "description": "The pid that answers.",
    "inputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
}
INFO: dict[str, Any] = {"capabilities": {"tools": {}}, "serverInfo": {"name": "chaos", "version": "1"}}


def main() -> None:
    """Serve until the end of standard input."""
    life, number = f"{os.getpid()}@{time.time_ns()}", 0
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        result: dict[str, object] = {}
        match asked["method"]:
            case "initialize":
                result = {**INFO, "protocolVersion": asked["params"]["protocolVersion"]}
            case "tools/list":
                result = {"tools": [TOOL]}
            case "tools/call":
                os.write(2, f"{life} {number}\n".encode())
                number += 1
                result = {"content": [{"type": "text", "text": str(os.getpid())}]}
            case _:
                pass
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}) + "\n")
        sys.stdout.flush()


main()
