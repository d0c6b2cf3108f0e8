"""One random walk over a real fleet: the seed repeats it. Shared by the tests and by `python -m tests.chaos`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.machine import Chaos


def walk(number: int, steps: int) -> None:
    """Walk so many steps. No shrinking: a step is a real process dying, and the seed repeats the walk."""
    once = settings(
        max_examples=1,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[check for check in HealthCheck if isinstance(check, HealthCheck)],
        print_blob=False,
    )
    try:
        run_state_machine_as_test(seed(number)(Chaos), settings=once)
    except BaseException as error:
        error.add_note(f"seed {number}, {steps} steps; again: python -m tests.chaos --seed {number} --steps {steps}")
        raise
