"""YAML as a light tree of spans and plain values, made in one pass over the parser's events. The one door to PyYAML in this room.

Owns the bounds: nodes of `compose` would give an alias the place of its anchor, and the safe loader takes exponential time over
merges. Knows no client and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import yaml

from mcpwatch.clients.formats.path import EditRefused, Value, members
from mcpwatch.clients.formats.yaml_scalar import key_of, value_of

MAX_DEPTH = 100
"""Levels of nesting; the parser's own cost grows with them, so that deeper text is left alone as soon as it shows."""
MAX_MERGED = 10_000
"""Members that the merges (`<<`) of one document may bring."""
_BREAK = re.compile("[\n\r\x85\u2028\u2029]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """A value in the text: `shape`, its span (`end` is that of the last thing in it, not of the blank lines after)."""

    shape: Literal["scalar", "alias", "map", "list"]
    start: int
    end: int
    column: int
    flow: bool = False
    text: str = ""
    plain: bool = False
    children: tuple[tuple[Node | None, Node], ...] = ()
    value: Value = field(default=None, repr=False)
    block_scalar: bool = False


def root(text: str) -> Node | None:
    """The one document of `text`, or `None` when it holds nothing but comments."""
    roots = documents(text)
    if len(roots) > 1:
        raise EditRefused("holds several YAML documents")
    return None if not roots or is_null(roots[0]) else roots[0]


_FRAME = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)


def documents(text: str) -> list[Node]:
    """Every document of `text`. Raises `EditRefused` for what is no YAML and for what is beyond the bounds."""
    try:
        events = iter(yaml.parse(text, Loader=_LOADER))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return [_Builder(text, events).node(event, 0) for event in events if not isinstance(event, _FRAME)]
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise EditRefused(f"not valid YAML: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise EditRefused(f"not readable as YAML: {type(error).__name__}") from None


class _Builder:
    """Makes the nodes of one document out of its events."""

    def __init__(self, text: str, events: Iterator[Any]) -> None:
        self._text = text
        self._events = events
        self._anchors: dict[str, Value] = {}
        self._merged = 0

    def node(self, event: Any, depth: int) -> Node:
        """The node that begins with `event`; takes its events up to its end."""
        start, column = int(event.start_mark.index), int(event.start_mark.column)
        if depth > MAX_DEPTH:
            raise EditRefused(f"line {event.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            alias: Any = event
            value = self._anchors.get(str(alias.anchor), "*" + str(alias.anchor))
            return Node("alias", start, int(alias.end_mark.index), column, value=value)
        if isinstance(event, yaml.ScalarEvent):
            value = value_of(event)
            if event.anchor:
                self._anchors[event.anchor] = value
            block = event.style in ("|", ">")
            end = _scalar_end(self._text, event)
            return Node("scalar", start, end, column, text=str(event.value), plain=not event.style, value=value, block_scalar=block)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, start, column, depth)
        return self._sequence(event, start, column, depth)

    def _mapping(self, event: Any, start: int, column: int, depth: int) -> Node:
        value: dict[str, Value] = {}
        if event.anchor:
            self._anchors[event.anchor] = value
        pairs: list[tuple[Node | None, Node]] = []
        merges: list[Value] = []
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key, item = self.node(inner, depth + 1), self.node(next(self._events), depth + 1)
            pairs.append((key, item))
            if key.shape == "scalar" and key.plain and key.text == "<<":
                merges.append(item.value)
            else:
                name = key_of(key.value)
                value[name if name not in value else f"{name}\0{len(value)}"] = item.value
        if merges:
            self._merge(value, merges)
        if event.tag and event.tag != "tag:yaml.org,2002:map":
            value["\0tag"] = str(event.tag)
        flow = bool(event.flow_style)
        end = int(cast("Any", inner).end_mark.index) if flow or not pairs else pairs[-1][1].end
        return Node("map", start, end, column, flow=flow, children=tuple(pairs), value=value)

    def _merge(self, value: dict[str, Value], merges: list[Value]) -> None:
        """Put in what `<<` brings, after the members of its own."""
        for source in merges:
            for mapping in cast("list[Value]", source) if isinstance(source, list) else [source]:
                brought = members(mapping)
                self._merged += len(brought) + 1
                if self._merged > MAX_MERGED:
                    raise EditRefused(f"merges of more than {MAX_MERGED} members, which mcpwatch does not read")
                for key, item in list(brought.items()):
                    value.setdefault(key, item)

    def _sequence(self, event: Any, start: int, column: int, depth: int) -> Node:
        value: list[Value] = []
        if event.anchor:
            self._anchors[event.anchor] = value
        items: list[tuple[Node | None, Node]] = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append((None, self.node(inner, depth + 1)))
            value.append(items[-1][1].value)
        if event.tag and event.tag != "tag:yaml.org,2002:seq":
            value.insert(0, "\0" + str(event.tag))
        flow = bool(event.flow_style)
        end = int(cast("Any", inner).end_mark.index) if flow or not items else items[-1][1].end
        return Node("list", start, end, column, flow=flow, children=tuple(items), value=value)


def _scalar_end(text: str, event: Any) -> int:
    """Where a scalar ends; that of a block scalar is set back from the line its mark is on to its own last line."""
    end = int(event.end_mark.index)
    if event.style not in ("|", ">"):
        return end
    header = text[event.start_mark.index : line_end(text, event.start_mark.index)].split("#", maxsplit=1)[0]
    at = _back(text, end, " ")
    return break_before(text, at) if "+" in header else _back(text, at, " \t\r\n\x85\u2028\u2029")


def _back(text: str, at: int, what: str) -> int:
    while at > 0 and text[at - 1] in what:
        at -= 1
    return at


def is_null(node: Node) -> bool:
    """Whether nothing at all is written there."""
    return node.shape == "scalar" and node.plain and not node.text


def eol_of(text: str) -> str:
    """The first line break of `text`."""
    match = _BREAK.search(text)
    return "\n" if match is None else "\r\n" if text.startswith("\r\n", match.start()) else match.group()


def line_start(text: str, at: int) -> int:
    """Where the line of `at` begins."""
    while at > 0 and not _BREAK.match(text[at - 1]):
        at -= 1
    return at


def line_end(text: str, at: int) -> int:
    """Just after the line break that ends the line of `at`."""
    match = _BREAK.search(text, at)
    return len(text) if match is None else match.end() + text.startswith("\r\n", match.start())


def break_before(text: str, at: int) -> int:
    """Where the line break that ends at `at` begins; `at` when none does."""
    if at == 0 or not _BREAK.match(text[at - 1]):
        return at
    return at - 2 if text[at - 2 : at] == "\r\n" else at - 1
