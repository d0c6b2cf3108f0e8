"""YAML read in one pass over the parser's events: the plain value of the document, and flat records of where everything is.

The one door to PyYAML's parser in this room. Owns the bounds: nodes of `compose` would give an alias the place of its anchor, and
the safe loader takes exponential time over merges. A merge (`<<`) is a key like any other here: what it brings is nobody's member.
Records are numbers in arrays and not objects, because a file of a megabyte has 200,000 of them. Knows no client.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

import yaml

from mcpwatch.clients.formats.path import EditRefused, Value
from mcpwatch.clients.formats.yaml_scalar import key_of, value_of

MAX_DEPTH = 100
"""Levels of nesting; the parser's own cost grows with them, so that deeper text is left alone as soon as it shows."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FRAME = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
_SCALAR, _MAP, _LIST = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent


class Shape(IntEnum):
    """What a record is of."""

    QUOTED = 0
    PLAIN = 1
    BLOCK_SCALAR = 2
    ALIAS = 3
    END = 4
    """The end of a mapping or list."""
    MAP = 5
    FLOW_MAP = 6
    LIST = 7
    FLOW_LIST = 8


_QUOTED, _PLAIN, _BLOCK, _ALIAS, _END = (int(shape) for shape in tuple(Shape)[:5])
_STYLES = {None: _PLAIN, "": _PLAIN, "|": _BLOCK, ">": _BLOCK}


class Document:
    """One document: `value`, and a record for each event, `END` included, in the order of the text.

    `starts` are places in the text. `ends` are places too for a scalar or alias, and for a container the number of its `END`
    record, which starts just after the container's last sign.
    """

    def __init__(self, text: str, take: Callable[[], Any]) -> None:
        self.text = text
        self.value: Value = None
        self.shapes = bytearray()
        self.starts, self.ends = array("L"), array("L")
        self.texts: list[str] = []
        """What is written there, of scalars."""
        self._add = (self.shapes.append, self.starts.append, self.ends.append, self.texts.append)
        self._take = take
        self._anchors: dict[str, Value] = {}

    def read(self, event: Any, depth: int) -> Value:
        """Record the thing that begins with `event`, up to its end; its value."""
        kind = cast("object", type(event))
        mark = event.start_mark
        if kind is _SCALAR:
            value = value_of(event)
            if event.anchor:
                self._anchors[event.anchor] = value
            add_shape, add_start, add_end, add_text = self._add
            add_shape(_STYLES.get(event.style, _QUOTED))
            add_start(mark.index)
            add_end(event.end_mark.index)
            add_text(event.value)
            return value
        if depth > MAX_DEPTH:
            raise EditRefused(f"line {mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
        if kind is not _MAP and kind is not _LIST:
            self._record(_ALIAS, mark, event.end_mark.index)
            return self._anchors.get(event.anchor, f"*{event.anchor}")
        here = len(self.shapes)
        flow = bool(event.flow_style)
        self._record((Shape.MAP if kind is _MAP else Shape.LIST) + flow, mark, 0)
        value, end = self._mapping(event, depth + 1) if kind is _MAP else self._sequence(event, depth + 1)
        self.ends[here] = len(self.shapes)
        self._record(_END, end.end_mark, 0)
        return value

    def _record(self, shape: int, mark: Any, end: int) -> None:
        self.shapes.append(shape)
        self.starts.append(mark.index)
        self.ends.append(end)
        self.texts.append("")

    def _mapping(self, event: Any, depth: int) -> tuple[dict[str, Value], Any]:
        value: dict[str, Value] = {}
        if event.anchor:
            self._anchors[event.anchor] = value
        take, read = self._take, self.read
        while type(inner := take()) is not yaml.MappingEndEvent:
            name = read(inner, depth)
            item = read(take(), depth)
            if type(name) is not str:
                name = key_of(name)
            value[name if name not in value else f"{name}\0{len(value)}"] = item
        if event.tag and event.tag != "tag:yaml.org,2002:map":
            value["\0tag"] = str(event.tag)
        return value, inner

    def _sequence(self, event: Any, depth: int) -> tuple[list[Value], Any]:
        value: list[Value] = []
        if event.anchor:
            self._anchors[event.anchor] = value
        take, read = self._take, self.read
        while type(inner := take()) is not yaml.SequenceEndEvent:
            value.append(read(inner, depth))
        if event.tag and event.tag != "tag:yaml.org,2002:seq":
            value.insert(0, "\0" + str(event.tag))
        return value, inner


def documents(text: str) -> list[Document]:
    """Every document of `text`. Raises `EditRefused` for what is no YAML and for what is beyond the bounds."""
    found: list[Document] = []
    try:
        take: Callable[[], Any] = _LOADER(text).get_event
        while (event := take()) is not None:
            if not isinstance(event, _FRAME):
                found.append(Document(text, take))
                found[-1].value = found[-1].read(event, 0)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise EditRefused(f"not valid YAML: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise EditRefused(f"not readable as YAML: {type(error).__name__}") from None
    return found
