"""What a search may ask of a Loki that keeps other people's logs too."""

from __future__ import annotations

import pytest

from mcpwatch.app.monitoring import ours
from mcpwatch.model.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ('{member="postgres"} |= "error"', '{app="mcpwatch", member="postgres"} |= "error"'),
        ("{}", '{app="mcpwatch"}'),
        (' { } | line_format "{{.x}}"', '{app="mcpwatch"} | line_format "{{.x}}"'),
        ('{app="other"}', '{app="mcpwatch", app="other"}'),
    ],
)
def test_a_search_sees_what_this_fleet_shipped_and_nothing_else(asked: str, sent: str) -> None:
    assert ours(asked) == sent


@pytest.mark.parametrize("asked", ["", "error", 'sum(rate({job="x"}[5m]))', '|= "x"'])
def test_a_query_that_does_not_begin_with_a_selector_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="write one selector and what follows it"):
        ours(asked)
