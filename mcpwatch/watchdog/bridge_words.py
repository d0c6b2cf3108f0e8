"""What a bridge writes of what it runs: once it says that all of it is there, nothing more is starting. Pure."""

from __future__ import annotations

import re

from mcpwatch.model.text import plain

_SERVED = re.compile(
    r"<(?P<go>[^<>]+)> (?:Connected|Handling requests at)\b|msg=\"?Connected\"?\b.*?\bclient=\"?(?P<slog>[^\s\"]+)"
)
_BEGUN = re.compile(r"<(?P<go>[^<>]+)> Connecting\b|msg=\"?Connecting\"?(?= ).*?\bclient=\"?(?P<slog>[^\s\"]+)")
_FAILED = re.compile(r"Failed to (?:add|initialize|create) client")
_ALL = re.compile(r"All clients initialized")


def unserved(lines: tuple[str, ...]) -> bool:
    """Whether a bridge says that it could not begin what it runs, or that it began that and no more: one that tries at its start
    alone needs another.
    """
    told = [plain(line) for line in lines]
    return any(_FAILED.search(line) for line in told) or bool(_names(_BEGUN, told) - _names(_SERVED, told))


def all_served(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a bridge serves, in order, when it says that this is all it runs and that nothing failed; else none."""
    told = [plain(line) for line in lines]
    if not any(_ALL.search(line) for line in told) or any(_FAILED.search(line) for line in told):
        return ()
    return tuple(sorted(_names(_SERVED, told)))


def _names(pattern: re.Pattern[str], told: list[str]) -> set[str]:
    """The servers of which a pattern tells."""
    return {found["go"] or found["slog"] for line in told if (found := pattern.search(line))}
