"""Values as canonical text, for hashing and comparing; lines of programs as they may be shown, without secrets. Pure."""

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


MASK = "***"
_VALUE = r"([\"']?\s*[:=]\s*[\"']?)"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}", rf"\1\2{MASK}"),
        (rf"(?i)\b(x-api-key|api[_-]?key|proxy-authorization){_VALUE}[^\s\"',;&]{{4,}}", rf"\1\2{MASK}"),
        (r"(?i)([?&](?:access_token|auth|token|key|api_?key|secret|password|sig)=)[^&\s\"'#]+", rf"\1{MASK}"),
        (rf"(?i)\b([a-z_-]*(?:password|passwd|secret|token)){_VALUE}(?!\*)[^\s\"',;&(){{}}\[\]]{{6,}}", rf"\1\2{MASK}"),
        (r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/@\"']+@", rf"\1{MASK}@"),
        (r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}", MASK),
        (r"\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b", MASK),
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", MASK),
    )
)


def masked(text: str) -> str:
    """`text` without what looks like a secret, whoever's it is: for all that leaves this machine or is kept."""
    for pattern, put in _SHAPES:
        text = pattern.sub(put, text)
    return text
