"""Values as canonical text, for hashing and comparing. Pure."""

from __future__ import annotations

import hashlib
import json


def canonical(value: object) -> str:
    """Compact JSON text with sorted keys: equal values give equal text. Raises `TypeError` for what JSON cannot say."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*parts: object) -> str:
    """SHA-256, as 64 hex digits, over the canonical text of the parts."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()
