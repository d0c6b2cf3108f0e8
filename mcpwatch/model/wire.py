"""The wires that a server may speak: their names for people, what its URL says, and what the gateway says of messages that are
none. Pure; imports little, because the gateway needs it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

WIRE_NAMES: Mapping[str, str] = {
    "sse": "HTTP+SSE",
    "http": "Streamable HTTP",
    "stateless": "the stateless wire of 2026-07-28",
}

NOT_UTF8 = "bytes that are not UTF-8"
SPREAD = "a JSON-RPC message that is spread over several lines"
"""How the gateway tells, and the watchdog reads, what a text of a server is that would be a message if it were written well."""


def names_sse(url: str) -> bool:
    """Whether the path of a URL ends in `/sse`: by convention its server speaks HTTP+SSE of 2024-11-05."""
    try:
        return urlsplit(url).path.rstrip("/").endswith("/sse")
    except ValueError:
        return False
