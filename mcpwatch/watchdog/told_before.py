"""What a server said of itself a moment before it fell silent: that it waits for something else, and no restart helps. Pure."""

from __future__ import annotations

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.refusals import refusal
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, Observation

TOLD_FOR = 60.0
"""Seconds for which that explains its silences: one who says no more for longer may have been hung by it."""


def told_before(seen: Observation, now: Instant) -> tuple[str, str] | None:
    """Cause and text of a silence that its own words earlier in this streak explain, else `None`."""
    if seen.symptom not in HUNG_SYMPTOMS or seen.told_at is None or now - seen.told_at > TOLD_FOR:
        return None
    return refusal(seen.told)
