"""Printing for people and for programs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def say(line: str = "") -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def say_json(value: Any) -> None:
    """Print a value as JSON, indented on a terminal."""
    say(as_text(value))


def as_text(value: Any) -> str:
    """A value as the JSON that is printed."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
