"""A container that has another address than before: it is asked there from then on, and what was seen of it is of the old one."""

from __future__ import annotations

import pytest

from mcpwatch.model.incarnation import Incarnation, Moved
from mcpwatch.model.probe import Target
from tests.watchdog.step_runtime import Crew
from tests.watchdog.test_runtime_events import Ears, heard

THERE = Target("http://172.18.0.9:8000/mcp")
LIVING = Incarnation("one", 1, "", 100, "c1", direct=Target("http://172.18.0.5:8000/mcp"))


@pytest.mark.parametrize(
    ("event", "living", "moved"),
    [
        (Moved("one", 1, THERE), LIVING, True),
        (Moved("one", 2, THERE), LIVING, False),
        (Moved("one", 1, THERE), None, False),
        (Moved("nobody", 1, THERE), LIVING, False),
    ],
)
def test_only_the_incarnation_that_moved_is_seen_anew_at_its_new_place(
    event: Moved, living: Incarnation | None, *, moved: bool
) -> None:
    def play(crew: Crew, ears: Ears) -> None:
        found = crew.actors["one"].incarnation
        assert found == (LIVING if living else None) or moved
        assert (found.direct == THERE if found else False) is moved
        assert ears.said == (["renew one"] if moved else [])

    heard("docker", event, play=play, living=living)
