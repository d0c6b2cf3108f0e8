"""How a stage says what went wrong. Never leaves this room: the prober turns a `ProbeFailure` into a `ProbeResult`."""

from __future__ import annotations

import re

from mcpwatch.model.probe import Stage, Symptom

SAID_LIMIT = 400
"""Characters kept of what a server answered."""
MESSAGE_LIMIT = 300
"""Characters kept of a message."""
UNCUT_LIMIT = 4 * SAID_LIMIT
"""Characters of it that are kept until secrets are taken out: half of one is none that is found."""
WORD_MAX = 40
"""Characters shown of an id, a version or a type."""
NAME_MAX = 60
"""Characters shown of a name."""
PLACE_MAX = 100
"""Characters shown of a path, a URL or a pattern."""
REASON_MAX = 160
"""Characters shown of a line, or of a reason that a library gives."""
TEXT_MAX = 200
"""Characters shown of a text."""

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"})
"""Headers by which a caller says who it is."""

_SPACE = re.compile(r"\s+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class ProbeFailure(Exception):
    """A stage failed. `stage` is the one the timeline is in, unless the raiser knows better."""

    def __init__(
        self,
        symptom: Symptom,
        message: str,
        *,
        said: str = "",
        status: int | None = None,
        code: int | None = None,
        stage: Stage | None = None,
        versions: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.symptom = symptom
        self.message = message
        self.said = said
        self.status = status
        self.code = code
        self.stage = stage
        self.versions = versions
        """Protocol versions that the server says it supports."""
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again."""
        super().__init__(message)


def one_line(text: str | bytes, limit: int) -> str:
    """`text` as one line of at most `limit` characters, free of control and direction characters; bytes are taken for UTF-8."""
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    flat = _SPACE.sub(" ", _UNSEEN.sub(" ", text[: limit * 4])).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def without_query(url: str) -> str:
    """A URL as it may be shown: without its query and user, which may hold a secret."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url.partition("?")[0]
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without any of `secrets`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
