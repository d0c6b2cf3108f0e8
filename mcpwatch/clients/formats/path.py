"""Where a member lives in a document, what it may hold, and why an edit is refused. Data only; knows no syntax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

Value = Any
"""A plain JSON value: dict, list, str, int, float, bool or None."""


class EditRefused(Exception):
    """The text cannot be edited with certainty; the message is one line for people and holds none of the text's values."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a list: the one whose `field` (dots go deeper) is `value`, or that is itself `value` when `field` is empty."""

    field: str
    value: str

    def matches(self, item: Value) -> bool:
        """Whether `item` is the element meant."""
        for part in self.field.split(".") if self.field else ():
            item = members(item).get(part)
        return item == self.value


Step = str | Element
Path = tuple[Step, ...]


Entries = Sequence[tuple[Step, Value]]
"""New members of one container, in order."""


def nest(parent: Path, entries: Entries) -> Value:
    """The value that holds `entries` in a container at `parent` below it."""
    value: Value = [item for _, item in entries] if isinstance(entries[0][0], Element) else dict(cast("Any", entries))
    for step in reversed(parent):
        value = [value] if isinstance(step, Element) else {step: value}
    return value


class Syntax(Protocol):
    """One syntax. `parse` is independent of the span editor, so that it can prove what the editor did."""

    name: str

    def parse(self, text: str) -> Value:
        """The document as plain values, `{}` when there is none yet. Raises `EditRefused` for broken text."""
        ...

    def put(self, text: str, parent: Path, entries: Entries) -> str:
        """`text` with `entries` in the container at `parent`, which is made when it is not there.

        Several entries are all new; a single one may be there, then its value is replaced in its place.
        """
        ...

    def drop(self, text: str, path: Path) -> str:
        """`text` without the member at `path`, unchanged when it is not there; the empty path is the whole document."""
        ...

    def forget(self) -> None:
        """Let go of whatever was kept of the text that was read last, so that an edit need not read it again."""
        ...


MISSING = object()


def members(value: Value) -> dict[str, Value]:
    """`value` as an object; an empty one when it is something else."""
    return cast("dict[str, Value]", value) if isinstance(value, dict) else {}


def elements(value: Value) -> list[Value]:
    """`value` as a list; an empty one when it is something else."""
    return cast("list[Value]", value) if isinstance(value, list) else []


def look(document: Value, path: Path) -> Value:
    """What is at `path`, or `MISSING`."""
    for step in path:
        if isinstance(step, Element):
            document = next((item for item in elements(document) if step.matches(item)), MISSING)
        else:
            document = members(document).get(step, MISSING)
        if document is MISSING:
            return MISSING
    return document


def write(path: Path) -> str:
    """A path as one string, as it is kept in the store: `mcpServers/time`, `inputs/[id=token]`."""
    return "/".join(_step(step) for step in path)


def _step(step: Step) -> str:
    if isinstance(step, Element):
        return f"[{step.field}={_escape(step.value)}]"
    return _escape(step)


def _escape(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1").replace("[", "~2")


def _unescape(text: str) -> str:
    return text.replace("~2", "[").replace("~1", "/").replace("~0", "~")


def read(text: str) -> Path:
    """The inverse of `write`."""
    return tuple(_unstep(part) for part in text.split("/")) if text else ()


def _unstep(part: str) -> Step:
    if part.startswith("["):
        field, _, value = part[1:-1].partition("=")
        return Element(field, _unescape(value))
    return _unescape(part)
