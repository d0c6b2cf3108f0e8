"""The words for an end name what tells most of what the program said."""

from __future__ import annotations

import pytest

from mcpwatch.model.incarnation import Exited
from mcpwatch.watchdog.exit_words import describe_exit

GO = ("flag provided but not defined: -expand-env", "Usage of mcp-proxy:", "  -config string", "    \tpath to config file")
DOCKER = ("docker: no such image.", "", "Run 'docker run --help' for more information")
PYTHON = ("usage: mcp-proxy [-h]", "mcp-proxy: error: unrecognized arguments: --named-server-config x")

GROUP = (
    "  + Exception Group Traceback (most recent call last):",
    "  |     raise mapped_exc(message) from exc",
    "  | httpx.ConnectError: All connection attempts failed",
    "  +------------------------------------",
    "    | ... (max_group_depth is 10)",
    "    +------------------------------------",
)

NODE = (
    "node:internal/modules/cjs/loader:1228",
    "  throw err;",
    "  ^",
    "Error: Cannot find module '/srv/index.js'",
    "    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)",
    "  code: 'MODULE_NOT_FOUND',",
    "}",
    "Node.js v22.23.3",
)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (GO, "exited with code 2: flag provided but not defined: -expand-env (is the program too old for it?)"),
        (PYTHON, f"exited with code 2: {PYTHON[1]} (is the program too old for it?)"),
        (DOCKER, "exited with code 2: docker: no such image."),
        (("Traceback", "ValueError: no key"), "exited with code 2: ValueError: no key"),
        (GROUP, "exited with code 2: httpx.ConnectError: All connection attempts failed"),
        (NODE, "exited with code 2: Error: Cannot find module '/srv/index.js'"),
        (NODE[-1:], "exited with code 2: Node.js v22.23.3"),
        ((), "exited with code 2"),
        ((DOCKER[2],), f"exited with code 2: {DOCKER[2]}"),
    ],
)
def test_a_refused_option_is_told_rather_than_the_usage_below_it(tail: tuple[str, ...], words: str) -> None:
    assert describe_exit(Exited("proxy", 1, code=2), tail) == words


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Exited("a", 1, signal=9, oom=True), "killed by SIGKILL (out of memory)"),
        (Exited("a", 1, signal=15), "killed by SIGTERM"),
        (Exited("a", 1, signal=99), "killed by signal 99"),
        (Exited("a", 1, code=0), "exited with code 0"),
        (Exited("a", 1, code=126), "exited with code 126 (command cannot be executed)"),
        (Exited("a", 1, code=127), "exited with code 127 (command not found)"),
        (Exited("a", 1), "ended, how cannot be known"),
        (Exited("a", 1, detail="somebody removed the container"), "ended: somebody removed the container"),
        (Exited("a", 1, code=3, detail="stopped"), "exited with code 3: stopped"),
    ],
)
def test_an_end_is_told_by_its_signal_or_code_and_by_what_its_carrier_knows_of_it(end: Exited, words: str) -> None:
    assert describe_exit(end) == words


def test_what_a_carrier_says_that_the_code_says_already_leaves_room_for_the_programs_own_words() -> None:
    assert describe_exit(Exited("a", 1, code=1, detail="exited with code 1"), ("no key",)) == "exited with code 1: no key"
    assert describe_exit(Exited("a", 1, signal=9, detail="killed by signal 9"), ("ready",)) == "killed by SIGKILL"


def test_the_last_line_of_a_program_that_ended_as_it_should_is_no_reason() -> None:
    assert describe_exit(Exited("a", 1, code=0), ("listening on port 80",)) == "exited with code 0"


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (9, 137, "killed by SIGKILL"),
        (15, 143, "killed by SIGTERM"),
        (2, None, "killed by SIGINT"),
        (6, 134, "killed by SIGABRT: free(): invalid pointer"),
        (11, None, "killed by SIGSEGV: free(): invalid pointer"),
    ],
)
def test_what_it_wrote_last_is_no_reason_of_an_end_that_came_from_without(number: int, code: int | None, words: str) -> None:
    assert describe_exit(Exited("a", 1, code=code, signal=number), ("free(): invalid pointer",)) == words


def test_of_an_exception_group_the_last_error_is_told_and_not_the_end_of_its_box() -> None:
    tail = (
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "x.py", line 3, in connect',
        "  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)",
        "  +-+---------------- 1 ----------------",
        "    | httpx.ConnectError: All connection attempts failed",
        "    | ... (max_group_depth is 10)",
        "    +------------------------------------",
    )
    for end in (5, 6, 7):
        assert describe_exit(Exited("a", 1, code=1), tail[:end]).endswith(": httpx.ConnectError: All connection attempts failed")
