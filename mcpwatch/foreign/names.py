"""Which names can be routes of the gateway, and what another name would become. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names the gateway serves."""
RESERVED = frozenset({"sse", "mcp", "messages", "healthz", "readyz", "_healthz", "_readyz", "metrics", "rpc", "health"})
"""Paths of the gateway's own: no route may have such a name."""
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


def servable(name: str) -> bool:
    """Whether a route may have this name."""
    return SERVED.fullmatch(name) is not None and name not in RESERVED


def proposal(name: str, taken: Collection[str] = ()) -> str:
    """`name` when a route may have it, else the nearest one that it may, other than those `taken`."""
    made = name if servable(name) else _OTHER.sub("-", name[:200].translate(_LETTERS)).strip("-._")[:56] or "server"
    made = f"{made}-server" if made in RESERVED else made
    candidate, number = made, 2
    while candidate in taken:
        candidate, number = f"{made[:56]}-{number}", number + 1
    return candidate
