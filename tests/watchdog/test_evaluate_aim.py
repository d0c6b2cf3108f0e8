"""Where a direct probe goes, and what it sends there."""

from __future__ import annotations

import pytest

from mcpwatch.model.probe import Target
from mcpwatch.watchdog.evaluate import aimed

HERE = Target("http://127.0.0.1:8000/mcp", headers=(("Authorization", "new"),), public_url="http://a.example/mcp")
THERE = Target("http://172.18.0.5:8000/mcp", headers=(("Authorization", "old"), ("Host", "first"), ("Host", "last")))


@pytest.mark.parametrize(
    ("living", "wanted", "aim"),
    [
        (None, HERE, HERE),
        (THERE, None, THERE),
        (None, None, None),
        (Target(HERE.url, headers=(("Authorization", "old"),)), HERE, HERE),
    ],
)
def test_a_probe_goes_where_the_runtime_or_else_the_configuration_says(
    living: Target | None, wanted: Target | None, aim: Target | None
) -> None:
    assert aimed(living, wanted) == aim


def test_at_a_place_that_the_runtime_alone_knows_it_sends_what_is_configured_now_and_the_host_that_belongs_there() -> None:
    aim = aimed(THERE, HERE)
    assert aim is not None
    assert (aim.url, aim.public_url) == (THERE.url, "")
    assert aim.headers == (("Authorization", "new"), ("Host", "last"))
    without = aimed(Target(THERE.url), HERE)
    assert without is not None
    assert without.headers == HERE.headers
