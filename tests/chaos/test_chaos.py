"""Random walks over a real fleet: a short one always, long ones from kept and new seeds in the slow suite."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.machine import Chaos

KEPT_SEEDS = (6, 20261121)
"""Seeds whose walk once found a fault, or is worth repeating."""


def walk(number: int, steps: int) -> None:
    """One random walk. No shrinking: a step is a real process dying, and the seed repeats the walk."""
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
        error.add_note(f"seed {number}, {steps} steps")
        raise


def test_a_short_random_walk_leaves_every_invariant_standing() -> None:
    walk(7, steps=6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", KEPT_SEEDS)
def test_two_hundred_steps_of_a_kept_seed(number: int) -> None:
    walk(number, steps=200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_steps_of_a_new_seed() -> None:
    walk(int(os.environ.get("MCPWATCH_SEED") or random.SystemRandom().randrange(2**32)), steps=200)
