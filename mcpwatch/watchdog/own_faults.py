"""Faults of the watchdog's own code while a check is made or its result is taken: they say nothing of whom the check is about."""

from __future__ import annotations

import logging
from collections.abc import Container

from mcpwatch.model.fact import Troubled
from mcpwatch.model.probe import BROKE, Outcome, ProbeResult
from mcpwatch.watchdog.senses import Context

SUBJECT = "checks"
_log = logging.getLogger(__name__)


def broken(error: Exception) -> ProbeResult:
    """What a check has seen in which our own code failed: nothing."""
    _log.debug("a check failed", exc_info=error)
    return ProbeResult(Outcome.UNKNOWN, message=f"{BROKE}: {type(error).__name__}: {error}")


class OwnFaults:
    """Of each check by name what it has not seen, as long as that lasts. Told as one trouble, with all that are concerned."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._unmade: dict[str, tuple[int, ProbeResult]] = {}
        self._told = ""

    def took(self, check: str, result: ProbeResult | None) -> int:
        """A check was made with this result (`None`: it is void). How often in a row our own code failed in it."""
        if result is None:
            return 0
        if result.outcome is not Outcome.UNKNOWN:
            self._unmade.pop(check, None)
            times = 0
        else:
            times = self._unmade.get(check, (0, result))[0] + 1 if result.own_fault else 0
            self._unmade[check] = times, result
        self._tell()
        return times

    def unmade(self, check: str) -> str:
        """Why a check saw nothing when it was made last; empty when it did."""
        return self._unmade[check][1].message if check in self._unmade else ""

    def drop(self, check: str) -> None:
        """A check cannot be made at present, because there is nobody to be asked."""
        self._unmade.pop(check, None)
        self._tell()

    def keep(self, checks: Container[str]) -> None:
        """There are only these checks now."""
        self._unmade = {name: kept for name, kept in self._unmade.items() if name in checks}
        self._tell()

    def _tell(self) -> None:
        faults = {name: result.own_fault for name, (_, result) in self._unmade.items() if result.own_fault}
        first = next(iter(faults.values()), "")
        if first == self._told:
            return
        if first:
            _log.error("%s failed%s", next(iter(faults)), first)
        self._told, clock = first, self._context.clock
        text = f"mcpwatch's own check failed{first}" if first else "mcpwatch's own checks work again"
        level = "error" if first else "info"
        self._context.publish(Troubled(at=clock.wall(), text=text, level=level, subject=SUBJECT, cleared=not first))
