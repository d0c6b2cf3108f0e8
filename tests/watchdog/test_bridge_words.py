"""What a bridge writes of what it runs: the lines are those of TBXark v0.43.2, and of its later generations."""

from __future__ import annotations

import pytest

from mcpwatch.watchdog.bridge_words import all_served

STARTED = (
    "2026/11/30 02:24:23 <clock> Connecting",
    "2026/11/30 02:24:23 Starting sse server",
    "2026/11/30 02:24:23 sse server listening on 127.0.0.1:19999",
)
SERVED = (
    "2026/11/30 02:24:31 <clock> Successfully listed 2 tools",
    "2026/11/30 02:24:31 <clock> Connected",
    "2026/11/30 02:24:31 <clock> Handling requests at /clock/",
)
READY = "2026/11/30 02:24:31 All clients initialized"
FAILED = "2026/11/30 02:24:31 <time> Failed to add client to server: context deadline exceeded"
SLOG = (
    'time=2026-11-30T02:24:31Z level=INFO msg=Connected client=clock addr="x"',
    'time=2026-11-30T02:24:31Z level=INFO msg="All clients initialized"',
)


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ((*STARTED, *SERVED, READY), ("clock",)),
        ((*SERVED, SERVED[1].replace("clock", "another"), READY), ("another", "clock")),
        (SLOG, ("clock",)),
        ((), ()),
        (STARTED, ()),
        ((*STARTED, *SERVED), ()),
        ((*STARTED, READY), ()),
        ((*STARTED, *SERVED, FAILED, READY), ()),
    ],
    ids=["one", "two", "slog", "nothing", "connecting", "one of more", "none", "one failed"],
)
def test_a_bridge_serves_what_it_says_once_it_says_that_this_is_all_and_that_nothing_failed(
    lines: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert all_served(lines) == names
