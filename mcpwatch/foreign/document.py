"""What was read from a file: plain values, and the line of each. Knows neither YAML nor JSON nor what the keys mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mcpwatch.model.errors import Fault

Path = tuple[str | int, ...]
"""Where a value stands in a document: keys and list positions from the root."""

Value = dict[str, "Value"] | list["Value"] | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its plain `data` and the 1-based line on which each key or item starts."""

    data: Value
    lines: Mapping[Path, int] = field(default_factory=dict[Path, int])
    file: str = ""
    faults: tuple[Fault, ...] = ()
    """What is wrong with the text but does not hinder reading on: duplicate keys."""

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest thing above it that was written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def fault(self, path: Path, message: str, shown: Path | None = None) -> Fault:
        """A fault at `path`, with its line."""
        return Fault(spell(path if shown is None else shown), message, self.file or None, self.line(path))


def spell(path: Path) -> str:
    """`members.fetch.checks[0].timeout`; keys that hold a dot are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif "." in step or not step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


def duplicate(path: Path, first: int, line: int, file: str) -> Fault:
    """The fault of a key written twice."""
    return Fault(spell(path), f"duplicate key, first written on line {first}; keep one of them", file, line)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same with every text in it, keys aside, as `change` makes it."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [with_texts(item, change) for item in cast("list[Any]", value)]
    return change(value) if isinstance(value, str) else value
