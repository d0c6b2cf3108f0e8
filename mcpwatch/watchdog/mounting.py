"""Which of its servers a proxy was starting when its latest run ended, where it starts one after the other. Pure.

The log of an ended run may be read after the next one began: what was stamped before that belongs to the ended one.
"""

from __future__ import annotations

from mcpwatch.model.time import WallTime


class Mounting:
    """What the log of one proxy told of its starts, in the order in which it was read."""

    def __init__(self) -> None:
        self._now = ""
        self._ended = ""
        self._served = self._had_served = False

    def heard(self, route: str, at: WallTime | None, began: WallTime | None) -> None:
        """It starts the server of this route. `at`: when the line was stamped; `began`: when the present run did."""
        if at is not None and began is not None and at < began:
            self._ended = self._ended if self._had_served else route
        elif not self._served:
            self._now = route

    def ready(self) -> None:
        """All servers were started: whatever ends it from now on is none of them."""
        self._now = self._ended = ""

    def served(self) -> None:
        """The present run answered: its start came to its end, whatever its log is still read to say of that."""
        self.ready()
        self._served = True

    def begin(self) -> None:
        """A new run began; what the run before was at is what that ended with."""
        self._served, self._had_served = False, self._served
        self._now, self._ended = "", self._now or self._ended

    def culprit(self, *, runs: bool) -> str:
        """The route with which the latest run that ended did so; empty when it was at none. `runs`: another is under way."""
        return self._ended if runs else self._now or self._ended
