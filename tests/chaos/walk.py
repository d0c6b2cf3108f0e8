"""One random walk over a real fleet: the seed repeats it. Shared by the tests and by `python -m tests.chaos`.

No hypothesis: it walks a failing seed a second time, which is another walk as processes die at other moments, and then tells that
the two differed instead of what was wrong.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.machine import Chaos
from tests.chaos.whole import KINDS, START, Whole


@dataclass
class Walked:
    """What a walk did: faults by kind, and the calls of its client while something befell the watchdog."""

    kinds: Counter[str] = field(default_factory=Counter[str])
    calls: Counter[str] = field(default_factory=Counter[str])

    @property
    def faults(self) -> int:
        """How many; a start of the watchdog is none."""
        return self.kinds.total() - self.kinds[START]


def walk(number: int, steps: int, *, whole: bool = False, tell: Callable[[str], None] | None = None) -> Walked:
    """Walk so many steps from an empty state directory; `whole`: over everything, even seeds with a clock. `tell` hears each step.

    Raises `AssertionError` with what is not as it must be.
    """
    walked = Walked()
    into(walked, number, steps, whole=whole, tell=tell)
    return walked


def into(walked: Walked, number: int, steps: int, *, whole: bool = False, tell: Callable[[str], None] | None = None) -> None:
    """The same; what was done before something was found is in `walked`, and of a walk that is ended by hand what was proved."""
    luck = random.Random(number)
    chaos = Whole(luck, clock=number % 2 == 0) if whole else Chaos()
    done = chaos.done
    try:
        chaos.start_watchdog()
        for _ in range(steps):
            chaos.step(luck)
            if tell is not None:
                tell(f"  {number}.{len(chaos.trace)} {chaos.trace[-1]}")
    except KeyboardInterrupt:
        done = chaos.proved
        raise
    except BaseException as error:
        again = f"python -m tests.chaos --seed {number} --steps {steps}{' --whole' if whole else ''}"
        error.add_note(chaos.daemon.said()[-12_000:])
        error.add_note(f"seed {number}, step {len(chaos.trace)}: {chaos.trace[-1:]}; again: {again}")
        raise
    finally:
        for action, count in done.items():
            walked.kinds[KINDS[action]] += count
        walked.calls += chaos.calls
        chaos.teardown()
