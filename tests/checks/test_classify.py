"""What is made of words, headers and exceptions: pure functions."""

from __future__ import annotations

import pytest

from mcpwatch.checks.classify import library_failure, retry_after
from mcpwatch.checks.legacy import prefixes
from mcpwatch.model.probe import Stage, Symptom


def _foreign_error(library: str, error: Exception) -> Exception:
    """`error` as if a library had raised it."""
    try:
        exec("raise error", {"__name__": library, "error": error})
    except Exception as raised:  # noqa: BLE001
        return raised
    raise AssertionError


@pytest.mark.parametrize("library", ["httpx", "httpx_sse._api", "h11._readers", "idna.core", "ssl", "httptools.parser"])
def test_what_a_library_raises_at_foreign_input_is_a_symptom_and_not_a_broken_prober(library: str) -> None:
    failure = library_failure(_foreign_error(library, KeyError("x")), Stage.INITIALIZE)
    assert failure is not None
    assert failure.symptom is Symptom.BAD_REPLY
    resolving = library_failure(_foreign_error(library, ValueError("label too long")), Stage.RESOLVE)
    assert resolving is not None
    assert resolving.symptom is Symptom.UNRESOLVED


def test_what_mcpwatch_itself_raises_and_what_it_lacks_blames_nobody() -> None:
    assert library_failure(_foreign_error("mcpwatch.checks.prober", KeyError("x")), Stage.OPEN) is None
    assert library_failure(_foreign_error("httpx", OSError(24, "Too many open files")), Stage.CONNECT) is None


@pytest.mark.parametrize(("value", "seconds"), [("", None), ("soon", None), ("-3", None), ("0", 0), ("9" * 30, 604_800)])
def test_what_retry_after_says_is_read_within_bounds(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize(
    ("public", "local", "found"),
    [("/mcp/time/sse", "/time/sse", ("/mcp", "")), ("/time/sse", "/time/sse", ("", "")), ("/a/sse", "/b/c/sse", ("/a", "/b/c"))],
)
def test_the_prefixes_of_two_paths_are_what_stands_before_their_common_end(public: str, local: str, found: tuple[str, str]) -> None:
    assert prefixes(public, local) == found
