"""The regular expressions that users write, by the one library that can stop one (the `regex` door).

A pattern that backtracks without end on some answer would stop the whole event loop, and with it the care for every member.
The library is imported when the first pattern is met: most fleets have none.
"""

from __future__ import annotations

from mcpwatch.model.errors import ProbeBroken

INPUT = 256 * 1024
"""Characters of an answer that are looked at."""
SECONDS = 0.25
"""Longest time that one search may take."""


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in the beginning of `text`. Raises `ProbeBroken` when the search takes too long."""
    import regex

    try:
        return regex.search(pattern, text[:INPUT], timeout=SECONDS) is not None
    except TimeoutError:
        raise ProbeBroken(f"/{pattern[:80]}/ took over {SECONDS} s on this answer; write it without nested repetition") from None


def fault(pattern: str) -> str:
    """What is wrong with a pattern, or nothing."""
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        return str(error)
    return ""
