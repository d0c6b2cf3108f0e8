"""Before everything else that is due: what heals a dead member does not stand in the row behind a hundred checks (ADR 0135).

The one place that knows how asyncio keeps what is due. On a loop that keeps it in another way, what is urgent waits its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def first() -> Generator[None]:
    """What is scheduled within, without a wait, runs next on this loop, in its order; the rest keeps its own."""
    due: deque[Any] | None = getattr(asyncio.get_running_loop(), "_ready", None)
    if not isinstance(due, deque):
        yield
        return
    before = len(due)
    try:
        yield
    finally:
        due.extendleft([due.pop() for _ in range(len(due) - before)])
