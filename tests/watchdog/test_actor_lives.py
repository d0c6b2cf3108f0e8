"""Whether what answers for a member is its present generation."""

from __future__ import annotations

import pytest

from mcpwatch.model.member import MemberState, Phase, Want
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Incarnation
from tests.watchdog.scenes import actor

SPEC = MemberSpec("time", "server", "process", object())


@pytest.mark.parametrize(
    ("living", "lives"),
    [
        (None, False),
        (Incarnation("time", 3, ""), True),
        (Incarnation("time", 2, ""), False),
        (Incarnation("time", None, ""), True),
    ],
)
def test_a_generation_lives_when_its_own_incarnation_is_known_or_one_that_has_no_number(
    living: Incarnation | None, *, lives: bool
) -> None:
    state = MemberState(want=Want.UP, phase=Phase.STARTING, generation=3)
    assert actor(SPEC, state, incarnation=living).lives is lives
