"""Which of a program's last lines is told: not the end of a dump, and behind our own bridge those of what it runs."""

from __future__ import annotations

import pytest

from mcpwatch.watchdog.exit_words import telling

GAVE_UP = "12:00:00 ERROR fetch: exited with code 1; giving up"
STDERR = "12:00:00 INFO fetch: stderr: "


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        (("Error: no such file: a.json", "  code: 'ENOENT'", "}"), "Error: no such file: a.json"),
        (("TypeError [ERR_X]: bad: it", "reading", "}", "]"), "TypeError [ERR_X]: bad: it"),
        (("an error without more", "its name: a", "{", "}"), "its name: a"),
        (("name: value", "no error", "an exception", "}"), "an exception"),
        (("reading", "}"), "reading"),
        (("123", "}"), "}"),
        (("SyntaxError: first: x", "ValueError: second", "}"), "ValueError: second"),
        (("listening", "Error: no key"), "Error: no key"),
        (("Error: old trouble", "bye"), "bye"),
        ((), ""),
        (("", " "), ""),
    ],
)
def test_below_a_dump_the_line_that_names_an_error_is_told_else_the_last_with_a_letter(tail: tuple[str, ...], told: str) -> None:
    assert telling(tail) == told


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        ((f"{STDERR}starting", f"{STDERR}no key", "bridge: other words", GAVE_UP), "no key"),
        ((f"{STDERR}no key", f"{STDERR}--", GAVE_UP), "no key"),
        ((f"{STDERR}no key", GAVE_UP.replace("code 1", "code 127 (command not found)")), "no key"),
        (("something else", GAVE_UP), GAVE_UP),
        ((f"{STDERR}no key", GAVE_UP, "goodbye"), "goodbye"),
        ((f"{STDERR}Error: no key", f"{STDERR}status", f"{STDERR}1", GAVE_UP), "Error: no key"),
        (
            (f"{STDERR}error: unknown option '--x'", f"{STDERR}Usage: fetch [--y]", GAVE_UP),
            "error: unknown option '--x' (is the program too old for it?)",
        ),
    ],
)
def test_where_our_bridge_gave_a_server_up_that_servers_last_words_are_told(tail: tuple[str, ...], told: str) -> None:
    assert telling(tail) == told
