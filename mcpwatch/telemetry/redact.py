"""What must never be read in a log is replaced before it is written: known secrets by value, unknown ones by their shape. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from mcpwatch.model.text import MASK, masked

SHORTEST = 6
"""Shorter secrets are not replaced by value: they would eat ordinary words."""


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
        return masked(self.known(text))


def _forms(secret: str) -> set[str]:
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe=""), quote(secret)}
