"""What a cause of trouble makes mcpwatch do next, in the words that the command line, the page and the MCP server share."""

from __future__ import annotations

from typing import Any

RUNGS = {
    "restart": "restart the member",
    "restart_proxy": "restart the proxy, once for all routes that need it",
    "reconnect": "reconnect",
    "resume": "let it run again",
    "quarantine": "left to a person: repairs did not help",
}


def next_step(cause: dict[str, Any]) -> str:
    """What comes next, from a diagnosis as JSON, as the watchdog itself says; one of an older version says only the rung."""
    if cause.get("next"):
        return str(cause["next"])
    if cause.get("hold"):
        return str(cause["hold"])
    return RUNGS.get(str(cause.get("rung")), "left to a person: a restart does not help against this")
