"""Values as text: canonical, for hashing and comparing, and short, for people. Pure."""

from __future__ import annotations

import hashlib
import json


def canonical(value: object) -> str:
    """Compact JSON text with sorted keys: equal values give equal text. Raises `TypeError` for what JSON cannot say."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*parts: object) -> str:
    """SHA-256, as 64 hex digits, over the canonical text of the parts."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def ago(seconds: float | None) -> str:
    """A span for people: `42s`, `3m05s`, `2h10m`, `4d03h`; `-` for none."""
    if seconds is None:
        return "-"
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
