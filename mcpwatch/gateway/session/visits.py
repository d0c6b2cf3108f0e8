"""Clients of the stateless wire: no session says that they are there, so those count that wait for an answer or asked lately.

Two clients are told apart by what every request carries: the mark of its token, the address it comes from, its `User-Agent`. Those
that share all three count as one, so that the number is never too high. Must not know members or HTTP.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

LATELY = 60.0
"""Seconds after its last message for which a client without a stream counts as one that is there."""
KEPT = 4096
"""Clients remembered by member; the ones silent for longest are forgotten first."""

Who = tuple[str, str, bytes]
"""Mark of the token, address, `User-Agent`."""


class Served(Protocol):
    """What a request leads to."""

    @property
    def served_by(self) -> Iterable[str]:
        """The members that it has used, by name."""
        ...


class Visits:
    """Requests of the stateless wire, by the client that made them."""

    def __init__(self) -> None:
        self._open: set[Visit] = set()
        self._lately: OrderedDict[tuple[str, Who], float] = OrderedDict()

    def begin(self, who: Who, served: Served) -> Visit:
        """A request, as a context: its client is there until its end, and for a while after it."""
        return Visit(self, who, served)

    def clients(self) -> set[tuple[str, Who]]:
        """Members and the clients that are there."""
        now = time.monotonic()
        found = {key for key, at in self._lately.items() if now - at < LATELY}
        return found | {(name, visit.who) for visit in self._open for name in visit.served.served_by}

    def came(self, visit: Visit) -> None:
        """A request has begun."""
        self._open.add(visit)

    def left(self, visit: Visit) -> None:
        """A request is answered, or its client went away."""
        self._open.discard(visit)
        now = time.monotonic()
        for name in visit.served.served_by:
            self._lately[name, visit.who] = now
            self._lately.move_to_end((name, visit.who))
        while len(self._lately) > KEPT:
            self._lately.popitem(last=False)


class Visit:
    """One request of a client."""

    __slots__ = ("_visits", "served", "who")

    def __init__(self, visits: Visits, who: Who, served: Served) -> None:
        self._visits = visits
        self.who = who
        self.served = served

    def __enter__(self) -> None:
        self._visits.came(self)

    def __exit__(self, *_: object) -> None:
        self._visits.left(self)
