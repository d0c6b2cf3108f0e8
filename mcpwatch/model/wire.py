"""The wires that a server may speak: their names for people, and what its URL says. Pure; imports little, because the gateway
needs it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

WIRE_NAMES: Mapping[str, str] = {
    "sse": "HTTP+SSE",
    "http": "Streamable HTTP",
    "stateless": "the stateless wire of 2026-07-28",
}


def names_sse(url: str) -> bool:
    """Whether the path of a URL ends in `/sse`: by convention its server speaks HTTP+SSE of 2024-11-05."""
    try:
        return urlsplit(url).path.rstrip("/").endswith("/sse")
    except ValueError:
        return False
