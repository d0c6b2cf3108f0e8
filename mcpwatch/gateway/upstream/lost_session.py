"""Whether an upstream refuses a request because it does not know our session: by HTTP 404, or by words under another status. Pure.

Servers after the official TypeScript examples say it by 400, older ones in Rust by 401. What is refused so was not executed.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, cast

from mcpwatch.model.session_words import ALONE, INVALID_PARAMS

BY_WORDS = frozenset({400, 401, 410})
"""Statuses that mean other things too: the words decide."""
WORDS_MAX = 2048
"""A longer body says more than that (bytes)."""
_FRESH = re.compile(r"(?:bad request: )?server not initialized\W*", re.IGNORECASE)
"""What the transport of a single session says after a restart."""
_NOT_FOUND = re.compile(r"\bnot found\b", re.IGNORECASE)


def forgets(status: int, body: bytes, session: str) -> bool:
    """Whether this refusal of a request in `session` is that of a session; `body` matters only for a status of `BY_WORDS`."""
    if status not in BY_WORDS or len(body) > WORDS_MAX:
        return status == 404
    said = " ".join(_said(body).replace(session, "").split())
    if status == 401 and not _NOT_FOUND.search(said):
        return False  # of a login
    return (ALONE.fullmatch(said) or _FRESH.fullmatch(said)) is not None


def _said(body: bytes) -> str:
    """The words of an error: of JSON-RPC, of another document with one, or the plain text. Empty for an argument that is wrong."""
    text = body.decode(errors="replace")
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        told = cast("dict[str, Any]", found).get("error", "") if isinstance(found, dict) else found
        if isinstance(told, dict):
            told = cast("dict[str, Any]", told)
            told = told.get("message") if told.get("code") != INVALID_PARAMS else ""
        return told if isinstance(told, str) else ""
    return text
