"""What a bridge writes of what it runs: once it says that all of it is there, nothing more is starting. Pure."""

from __future__ import annotations

import re

from mcpwatch.model.text import plain

_SERVED = re.compile(
    r"<(?P<go>[^<>]+)> (?:Connected|Handling requests at)\b|msg=\"?Connected\"?\b.*?\bclient=\"?(?P<slog>[^\s\"]+)"
)
_FAILED = re.compile(r"Failed to (?:add|initialize|create) client")
_ALL = re.compile(r"All clients initialized")


def all_served(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a bridge serves, in order, when it says that this is all it runs and that nothing failed; else none."""
    told = [plain(line) for line in lines]
    if not any(_ALL.search(line) for line in told) or any(_FAILED.search(line) for line in told):
        return ()
    return tuple(sorted({found["go"] or found["slog"] for line in told if (found := _SERVED.search(line))}))
