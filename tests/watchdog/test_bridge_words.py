"""What a bridge writes of what it runs: the lines are those of TBXark v0.43.2, and of its later generations."""

from __future__ import annotations

import pytest

from mcpwatch.watchdog.exit_words import all_served, unserved

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


@pytest.mark.parametrize("verb", ["add", "initialize", "create"])
def test_a_bridge_says_that_it_could_not_begin_what_it_runs(verb: str) -> None:
    assert unserved(("2026/11/21 01:36:38 <fetch> Connecting", f"2026/11/21 01:36:39 <fetch> Failed to {verb} client: EOF"))
    assert not unserved(("2026/11/21 01:36:38 <fetch> Connected",))
    assert not unserved(())


@pytest.mark.parametrize(
    "lines",
    [STARTED, tuple(line.replace("<clock> Connecting", "<other> Connecting") for line in STARTED) + SERVED],
    ids=["its only child", "one of two"],
)
def test_a_bridge_that_began_a_server_and_says_no_more_of_it_did_not_get_it_to_serve(lines: tuple[str, ...]) -> None:
    assert unserved(lines), "as TBXark does whose child ends before it answers: it waits for that for ever"
    assert not unserved((*STARTED, *SERVED, READY))


def test_the_later_words_of_a_bridge_are_read_the_same_way() -> None:
    begun = 'time=2026-11-30T02:24:23Z level=INFO msg=Connecting client=clock addr="x"'
    assert unserved((begun,))
    assert not unserved((begun, *SLOG))
