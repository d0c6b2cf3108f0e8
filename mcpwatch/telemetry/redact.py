"""What must never be read in a log is replaced before it is written: known secrets by value, unknown ones by their shape. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"
SHORTEST = 6
"""Shorter secrets are not replaced by value: they would eat ordinary words."""

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


class Redactor:
    """Replaces secrets in text. `use` gives it the secrets of a new plan; those of earlier plans stay hidden too."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.use(secrets)

    def use(self, secrets: Iterable[str]) -> None:
        """Hide these values as well, in every form they take in JSON and in URLs."""
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        if forms <= self._known:
            return
        self._known |= forms
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def known(self, text: str) -> str:
        """`text` without the known values; quick enough for every line of every member."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        text = self.known(text)
        for pattern, put in _SHAPES:
            text = pattern.sub(put, text)
        return text


def _forms(secret: str) -> set[str]:
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe=""), quote(secret)}
