"""A span of time as people read it. Pure; imports nothing, because the fast commands need it."""

from __future__ import annotations


def ago(seconds: float | None) -> str:
    """A span for people: `42s`, `3m05s`, `2h10m`, `4d03h`; `-` for none."""
    if seconds is None:
        return "-"
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
