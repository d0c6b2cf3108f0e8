"""How long a member waits before its next start, from how it ended before. Pure: time and chance come in.

Owns the count of deaths. Must not know processes or links.
"""

from __future__ import annotations

from mcpwatch.gateway.settings import Restart

FAILED_AFTER = 5
"""From this many deaths a member is called failed; it is still tried."""


class Backoff:
    """The pauses of one member. `failures` counts the starts in a row that came to nothing."""

    def __init__(self, restart: Restart) -> None:
        self.restart = restart
        self.failures = 0
        self._deaths: list[float] = []
        self._permanent = False

    @property
    def _count(self) -> int:
        return max(len(self._deaths), self.failures, FAILED_AFTER + 1 if self._permanent else 0)

    @property
    def failed(self) -> bool:
        """Whether it dies so often that another start is not expected to help."""
        return self._count > FAILED_AFTER

    def after(self, now: float, chance: float, *, served: bool, permanent: bool = False) -> float:
        """Seconds to wait after an end at `now` (monotonic): nothing after the first within the period, then growing.

        `served`: it had been of use. `permanent`: trying again soon cannot help. `chance` is in [-1, 1].
        """
        restart = self.restart
        self._deaths = [at for at in self._deaths if at > now - restart.period] + [now]
        self._permanent = permanent
        self.failures = 0 if served else self.failures + 1
        if self._count < 2:
            return 0.0
        return min(restart.max, restart.first * 2.0 ** min(self._count - 2, 60)) * (1 + restart.jitter * chance)

    def forget(self) -> None:
        """Begin anew: somebody changed something."""
        self.failures = 0
        self._deaths = []
        self._permanent = False
