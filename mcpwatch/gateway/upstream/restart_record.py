"""How one upstream ended so far, and what follows the next end, by the arithmetic that the watchdog uses too: ADR 0077.

Owns the record. Pure: time and chance come in. Must not know processes or links.
"""

from __future__ import annotations

from mcpwatch.model.restart import Next, RestartHistory, RestartPolicy, after_end, after_exit, counted, delay, one_try
from mcpwatch.model.time import Instant


class RestartRecord:
    """The ends of one upstream. `fruitless` counts the starts in a row that came to nothing."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.fruitless = 0
        self._history = RestartHistory()

    def end_of_process(self, now: float, ready_at: float | None, code: int | None, unit: float, *, permanent: bool = False) -> Next:
        """What follows the end of a hosted server at `now` (monotonic, as `ready_at`, `None` when it never was of use).

        `code` is its exit code, `None` when it was killed or did not exit by itself. `permanent`: trying again soon cannot help.
        """
        decided = after_exit(self.policy, code)
        self._count(now, ready_at)
        if decided is not None:
            return decided
        if permanent:
            return Next("parked", self.policy.retry)
        return after_end(self.policy, self._history, Instant(now), unit)

    def end_of_connection(self, now: float, ready_at: float | None, unit: float) -> Next:
        """What follows the loss of a server by URL: it is tried for ever, because nothing is started by that."""
        self._count(now, ready_at)
        return Next("again", delay(self.policy, self._history.failures, unit))

    @property
    def often(self) -> bool:
        """Whether it ended more often in a row than the policy would restart it."""
        return self._history.failures > self.policy.intensity

    def one_try(self, now: float) -> None:
        """It was parked and gets one more try."""
        self._history = one_try(self.policy, self._history, Instant(now))

    def forget(self) -> None:
        """Begin anew: somebody changed something."""
        self.fruitless = 0
        self._history = RestartHistory()

    def _count(self, now: float, ready_at: float | None) -> None:
        self.fruitless = 0 if ready_at is not None else self.fruitless + 1
        self._history = counted(self.policy, self._history, Instant(now), None if ready_at is None else Instant(ready_at))
