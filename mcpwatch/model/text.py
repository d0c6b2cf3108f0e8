"""Values as canonical text, for hashing and comparing; lines of programs as they may be shown. Pure."""

from __future__ import annotations

import hashlib
import json
import re

_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")


def canonical(value: object) -> str:
    """Compact JSON text with sorted keys: equal values give equal text. Raises `TypeError` for what JSON cannot say."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plain(line: str) -> str:
    """A line of a program without colours and other characters that steer a terminal."""
    return "".join(one if one.isprintable() else " " for one in _COLOURS.sub("", line)).strip()


def digest(*parts: object) -> str:
    """SHA-256, as 64 hex digits, over the canonical text of the parts."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()
