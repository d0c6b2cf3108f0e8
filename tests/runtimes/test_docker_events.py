"""What an engine tells of the ends of containers."""

from __future__ import annotations

import pytest

from mcpwatch.runtimes.docker.events import out_of_memory

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("code", "told", "flagged", "oom"),
    [
        (137, 0.1, True, True),
        (137, None, True, True),
        (1, 2.0, True, True),
        (143, 1_260.0, True, False),
        (137, 1_260.0, True, False),
        (143, None, True, False),
        (137, None, False, False),
        (None, None, True, False),
    ],
)
def test_the_memory_killer_explains_no_end_of_long_after_its_blow(
    code: int | None, told: float | None, *, flagged: bool, oom: bool
) -> None:
    at = 5_000 * SECOND
    told_at = None if told is None else at - round(told * SECOND)
    assert out_of_memory(code, at, told_at, flagged=flagged) is oom
