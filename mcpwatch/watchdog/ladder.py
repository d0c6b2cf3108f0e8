"""Which rung of the repair ladder to take now, if any. Pure: a diagnosis, what was tried before, and the time.

A rung is tried once, proved by the probe that failed, and only then is the next one considered. Repairs of one member are
spaced and counted, causes without a rung are never answered with a restart, and when many members fall at once the common
cause comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis

Rung = Literal["reconnect", "restart", "restart_proxy", "recreate", "quarantine"]

HOLD_DOWN = 30.0
"""Seconds after a repair of a member before the next one of the same member, unless the cause is another."""

HOLD_LOOK = 1.0
"""Seconds until a repair that has to wait is considered again."""

ATTEMPTS = 3
"""Repairs of one cause that may fail before it is left to a person (and an alert)."""

FORGET = 900.0
"""Seconds after which an attempt no longer counts."""

_LADDERS: dict[str, tuple[Rung, ...]] = {
    "restart": ("restart", "recreate"),
    "restart_proxy": ("restart_proxy",),
    "reconnect": ("reconnect", "restart_proxy"),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One repair that was tried. `proved` is `None` while the proof is still due."""

    at: Instant
    cause: str
    subject: str
    rung: Rung
    proved: bool | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do: a rung now, or nothing and why (`wait_until` when trying later makes sense)."""

    rung: Rung | None
    why: str
    wait_until: Instant | None = None


def choose(diagnosis: Diagnosis, tried: tuple[Attempt, ...], now: Instant, recreates: bool) -> Choice:
    """The rung for a diagnosis, given every attempt on its subject (oldest first). `recreates`: its runtime can recreate it."""
    if diagnosis.rung is None:
        return Choice(None, f"a restart does not help against {diagnosis.cause}")
    if diagnosis.hold:
        return Choice(None, diagnosis.hold, Instant(now + HOLD_LOOK))
    recent = tuple(attempt for attempt in tried if attempt.subject == diagnosis.subject and now - attempt.at < FORGET)
    if recent and recent[-1].proved is None:
        return Choice(None, "a repair is under way")
    same = tuple(attempt for attempt in recent if attempt.cause == diagnosis.cause)
    failed = _failed_in_a_row(same)
    if same and now - same[-1].at < HOLD_DOWN * 2**failed / 2:
        return Choice(None, "the last repair was moments ago", Instant(same[-1].at + HOLD_DOWN * 2**failed / 2))
    if same and same[-1].rung == "quarantine":
        return Choice(None, "quarantined: repairs did not help; left to a person")
    if failed >= ATTEMPTS:
        return Choice("quarantine", f"{failed} repairs did not help")
    ladder: tuple[Rung, ...] = _LADDERS.get(diagnosis.rung, ("restart",))
    rungs: list[Rung] = [rung for rung in ladder if recreates or rung != "recreate"]
    return Choice(rungs[min(failed, len(rungs) - 1)], "the lowest rung that fits")


def _failed_in_a_row(attempts: tuple[Attempt, ...]) -> int:
    """How many of the latest attempts were not proved."""
    count = 0
    for attempt in reversed(attempts):
        if attempt.proved:
            break
        count += 1
    return count
