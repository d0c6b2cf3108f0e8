"""One random walk over a real fleet: the seed repeats it. Shared by the tests and by `python -m tests.chaos`.

No hypothesis: it walks a failing seed a second time, which is another walk as processes die at other moments, and then tells that
the two differed instead of what was wrong.
"""

from __future__ import annotations

import random

from tests.chaos.machine import Chaos


def walk(number: int, steps: int) -> None:
    """Walk so many steps from an empty state directory. Raises `AssertionError` with what is not as it must be."""
    luck = random.Random(number)
    chaos = Chaos()
    try:
        chaos.start_watchdog()
        for _ in range(steps):
            chaos.step(luck)
    except BaseException as error:
        error.add_note(f"seed {number}, step {len(chaos.trace)}; again: python -m tests.chaos --seed {number} --steps {steps}")
        raise
    finally:
        chaos.teardown()
