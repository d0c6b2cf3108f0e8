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


FRAMES = {
    "node out of heap": (
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        (
            "----- Native stack trace -----",
            " 1: 0xb8ced1 node::OOMErrorHandler(char const*) [/usr/bin/node]",
            "10: 0x195e476  [/usr/bin/node]",
        ),
    ),
    "node": (
        "Error: Cannot find module 'x'",
        (
            "    at Module._resolveFilename (node:internal/modules/cjs/loader:1143:15)",
            "    at node:internal/main/run_main_module:28:49",
        ),
    ),
    "go": (
        "panic: runtime error: index out of range [5] with length 3",
        ("goroutine 1 [running]:", "main.go:12 +0x1d", "exit status 2"),
    ),
    "java": ("java.lang.IllegalStateException: no database", ("\tat com.acme.Server.main(Server.java:12)",)),
    "c library": ("fatal error: double free", ("#0 0x00007f12 in abort ()", "Aborted (core dumped)")),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("depth", [1, 3, 12])
def test_above_a_stack_of_whatever_language_what_led_to_it_is_told(kind: str, depth: int) -> None:
    words, frames = FRAMES[kind]
    stack = tuple(frames[place % len(frames)] for place in range(depth))
    assert telling(("listening on 8001", words, *stack, frames[-1])) == words


@pytest.mark.parametrize(
    "line", ["at your service", "1: one", "main.py:12", "error at line 3: no key", "see -- this --", "exit status unknown"]
)
def test_a_line_that_only_looks_a_little_like_a_stack_is_told(line: str) -> None:
    assert telling(("Error: old trouble", line)) == line


def test_the_advice_of_rust_is_not_what_is_told() -> None:
    advice = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"
    assert telling(("thread 'main' panicked at src/main.rs:4:5:", "no database", advice)) == "no database"
