"""Times and spans as people type them on a command line: `90s`, `10m`, `2h`, `3d`, or an RFC 3339 time. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mcpwatch.model.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def span(text: str) -> float:
    """Seconds of `5s`, `1m30s`, `250ms` or a bare number. Raises `UsageError`."""
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a span; write 5s, 1m30s or 250ms") from None


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
