"""The words for an end name what tells most of what the program said."""

from __future__ import annotations

import pytest

from mcpwatch.ports import Exited
from mcpwatch.watchdog.exit_words import describe_exit

GO = ("flag provided but not defined: -expand-env", "Usage of mcp-proxy:", "  -config string", "    \tpath to config file")
DOCKER = ("docker: no such image.", "", "Run 'docker run --help' for more information")
PYTHON = ("usage: mcp-proxy [-h]", "mcp-proxy: error: unrecognized arguments: --named-server-config x")


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (GO, "exited with code 2: flag provided but not defined: -expand-env (is the program too old for it?)"),
        (PYTHON, f"exited with code 2: {PYTHON[1]} (is the program too old for it?)"),
        (
            ("docker: no such image.", "", "Run 'docker run --help' for more information"),
            "exited with code 2: docker: no such image.",
        ),
        (("Traceback", "ValueError: no key"), "exited with code 2: ValueError: no key"),
        ((), "exited with code 2"),
    ],
)
def test_a_refused_option_is_told_rather_than_the_usage_below_it(tail: tuple[str, ...], words: str) -> None:
    assert describe_exit(Exited("proxy", 1, code=2), tail) == words


def test_a_signal_is_named() -> None:
    assert describe_exit(Exited("a", 1, signal=9, oom=True)) == "killed by SIGKILL (out of memory)"
