"""What lives long is looked through once, not at each full collection: with thousands of routes each would hold the loop for long.

After a full collection that found much alive, what is alive is frozen: later ones pass it by, and what is no longer referred to
still ends at once. Only a cycle that ends while it is frozen stays; so now and then all is thawed, and the next full collection
looks through everything, as each one would without this. See ADR 0127.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping

MUCH = 10_000
"""Objects alive after a full collection from which on they are frozen: five to fifteen milliseconds of looking."""
THAW = 50
"""Times that is done until all is thawed."""


def settle() -> None:
    """Freeze what is loaded now, and from here on what full collections leave."""
    gc.freeze()
    if not any(isinstance(one, LongLived) for one in gc.callbacks):
        gc.callbacks.append(LongLived())


class LongLived:
    """Freezes what full collections leave: a callback of `gc`."""

    def __init__(self, much: int = MUCH, thaw: int = THAW) -> None:
        self._much = much
        self._thaw = thaw
        self._frozen = 0

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        """As a callback of `gc`: after the collection of a generation."""
        if phase != "stop" or info["generation"] != 2 or len(gc.get_objects(2)) < self._much:
            return
        if self._frozen >= self._thaw:
            self._frozen = 0
            gc.unfreeze()
        else:
            self._frozen += 1
            gc.freeze()
