"""Printing for people and for programs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def say(line: str = "") -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def say_json(value: Any) -> None:
    """Print a value as JSON, indented on a terminal."""
    say(as_text(value))


def say_answer(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a value as JSON, or else what it says to people: `lines`, which are not asked for then."""
    if as_json:
        say_json(value)
        return
    for line in lines:
        say(line)


def as_text(value: Any) -> str:
    """A value as the JSON that is printed."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
