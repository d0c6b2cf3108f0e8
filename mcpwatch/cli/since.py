"""Times and spans as people type them on a command line: `90s`, `10m`, `2h`, `3d`, or an RFC 3339 time. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from mcpwatch.model.errors import UsageError


def span(text: str | float) -> float:
    """Seconds of `5s`, `1m30s`, `250ms` or a bare number: how every option of a duration is read. Raises `UsageError`."""
    if isinstance(text, float):
        return text
    from mcpwatch.units import seconds  # not before it is needed: it loads pydantic

    try:
        return seconds(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a span; write 5s, 1m30s or 250ms") from None


def positive_span(text: str | float) -> float:
    """Seconds, more than zero. Raises `UsageError`."""
    found = span(text)
    if found <= 0:
        raise UsageError(f"'{text}' is no duration to wait for; write more than zero, e.g. 5s")
    return found


def since_epoch(text: str | None, now: float) -> float | None:
    """Epoch seconds of a span before `now` or of a time; `None` stays `None`. Raises `UsageError`."""
    if text is None:
        return None
    try:
        return now - span(text)
    except UsageError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is neither a span (10m, 2h) nor a time (2026-11-21T04:00:00Z)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
