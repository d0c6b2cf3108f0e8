"""Which hours in memory may be written: those that hold what the store holds of them. Pure; knows no store and no clock.

An hour is written over what was kept of it, so one that another watchdog began, or that comes again because the clock was set back,
must take up what is stored first.
"""

from __future__ import annotations

from mcpwatch.web.objectives.hour import Hour

Hours = dict[int, Hour]


class WholeHours:
    """The hours of all routes of a meter that begins in hour `present`."""

    def __init__(self, present: int) -> None:
        self._latest = present
        self._whole: set[int] = set()
        self.behind: set[int] = {present - 1, present}
        """Hours that must take up what is stored of them."""

    def of(self, hours: Hours, number: int) -> Hour:
        """The counters of an hour of one route."""
        found = hours.get(number)
        if found is None:
            found = hours[number] = Hour()
            if number > self._latest:
                self._latest = number
                self._whole.add(number)
            elif number not in self._whole:
                self.behind.add(number)
        return found

    def taken_up(self, number: int) -> None:
        """What is stored of this hour was added to all routes."""
        self.behind.discard(number)
        self._whole.add(number)

    def forget(self, hours: Hours, present: int) -> None:
        """Forget the hours of a route that are over and written."""
        for number in [number for number in hours if number < present - 1 and number not in self.behind]:
            del hours[number]

    def turn(self, present: int) -> None:
        """Hours that were forgotten are whole no more, should they come again."""
        self._whole = {number for number in self._whole if number >= present - 1}
