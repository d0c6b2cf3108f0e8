"""The contract of a server: what it lists, fingerprinted per item. Pure; knows no wire and no policy."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ITEM_KEYS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What belongs to the contract of a tool. `_meta` and icons do not: gateways add their own."""


def canonical(value: object) -> str:
    """JSON text that is equal exactly when the values are: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """The first 16 hex digits of SHA-256: what a fingerprint is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def item(tool: dict[str, Any], keys: tuple[str, ...] = ITEM_KEYS) -> dict[str, Any]:
    """The part of a listed tool that is its contract."""
    return {key: tool[key] for key in keys if tool.get(key) is not None}
