"""One random walk over a real fleet: the seed repeats it. Shared by the tests and by `python -m tests.chaos`.

No hypothesis: it walks a failing seed a second time, which is another walk as processes die at other moments, and then tells that
the two differed instead of what was wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.chaos.machine import Chaos
from tests.chaos.whole import Whole


def walk(number: int, steps: int, *, whole: bool = False, tell: Callable[[str], None] | None = None) -> None:
    """Walk so many steps from an empty state directory; `whole`: over everything, each fifth with a clock. `tell` hears each step.

    Raises `AssertionError` with what is not as it must be.
    """
    luck = random.Random(number)
    chaos = Whole(luck, clock=number % 5 == 0) if whole else Chaos()
    try:
        chaos.start_watchdog()
        for _ in range(steps):
            chaos.step(luck)
            if tell is not None:
                tell(f"  {number}.{len(chaos.trace)} {chaos.trace[-1]}")
    except BaseException as error:
        again = f"python -m tests.chaos --seed {number} --steps {steps}{' --whole' if whole else ''}"
        error.add_note(chaos.daemon.said()[-12_000:])
        error.add_note(f"seed {number}, step {len(chaos.trace)}; again: {again}")
        raise
    finally:
        chaos.teardown()
