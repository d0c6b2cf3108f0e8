"""YAML read in one pass over the parser's events: the plain value of the document, and flat records of where everything is.

The one door to PyYAML's parser in this room. Owns the bounds: nodes of `compose` would give an alias the place of its anchor, and
the safe loader takes exponential time over merges. A merge (`<<`) is a key like any other here: what it brings is nobody's
member. Scalars are plain values: what our own entries hold is read as its type, everything else as a text of its own; two
different scalars never give the same value, so that comparing values shows every change. Records are numbers in arrays and not
objects, because a file of a megabyte has 200,000 of them. Knows no client.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

import yaml

from mcpwatch.clients.formats.path import EditRefused, Value

_TAG = "tag:yaml.org,2002:"
_LONGEST = 64
"""Characters of a plain scalar beyond which it is taken for a text without a look at the patterns of numbers."""
_RESOLVERS: dict[str | None, list[tuple[str, Any]]] = cast("Any", yaml.SafeLoader).yaml_implicit_resolvers
TYPED = frozenset(sign or "" for sign in _RESOLVERS)
"""The first signs of plain scalars that may be something else than a text; of those with any other sign none is."""
_BOOLS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def value_of(event: Any) -> Value:
    """The value of a scalar event: text, truth value, null, decimal number; of any other type a text that begins with NUL."""
    text: str = event.value
    tag: str | None = event.tag
    if tag and tag != "!":
        return text if tag == _TAG + "str" else f"\0{tag} {text}"
    if event.style or not event.implicit[0] or len(text) > _LONGEST or text[:1] not in TYPED:
        return text
    if text.isdecimal() and text.isascii() and (text == "0" or text[0] != "0"):
        return int(text)
    tag = _resolved(text)
    if tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return _BOOLS[text.lower()]
    return f"\0{tag} {text}"


def key_of(value: Value) -> str:
    """A key as text: `1` and `"1"` stay apart."""
    return value if isinstance(value, str) else f"\0{type(value).__name__} {value if not isinstance(value, (dict, list)) else ''}"


@functools.lru_cache(1024)
def _resolved(text: str) -> str:
    """The type that YAML 1.1 gives a short plain scalar, without its prefix."""
    for tag, pattern in _RESOLVERS.get(text[:1], []):
        if pattern.match(text):
            return tag.removeprefix(_TAG)
    return "str"


MAX_DEPTH = 100
"""Levels of nesting; the parser's own cost grows with them, so that deeper text is left alone as soon as it shows."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FRAME = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
_SCALAR, _MAP, _LIST = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent
_MAP_END, _LIST_END = yaml.MappingEndEvent, yaml.SequenceEndEvent
_NO_NAME, _LISTED = object(), object()
"""Where a mapping waits for its next key; where a list waits for its next element."""
_type_of: Callable[[object], object] = type
_Open = tuple[Any, Any, Any]
"""A container around the one that is read: its value, the key that waits for a value, and its own record and tag."""


class EventKind(IntEnum):
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


_QUOTED, _PLAIN, _BLOCK, _ALIAS, _END, _MAPPING, _FLOW_MAPPING, _SEQUENCE, _FLOW_SEQUENCE = (int(shape) for shape in EventKind)
_STYLES = {None: _PLAIN, "": _PLAIN, "|": _BLOCK, ">": _BLOCK}


class YamlDocument:
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
        self.anchors: dict[str, Value] = {}

    def read(self, event: Any) -> Value:
        """Record the thing that begins with `event`, up to its end; its value. One turn for each event: calls would cost twice."""
        take, anchors = self._take, self.anchors
        shape, start, end, write = self._add
        outer: list[_Open] = []
        here: Any = None
        name: Any = _NO_NAME
        opened: Any = None
        while True:
            kind = _type_of(event)
            if kind is _SCALAR:
                text, style = event.value, event.style
                shape(_STYLES.get(style, _QUOTED))
                start(event.start_mark.index)
                end(event.end_mark.index)
                write(text)
                value = text if not event.tag and (style or text[:1] not in TYPED) else value_of(event)
                if event.anchor:
                    anchors[event.anchor] = value
            elif kind is _MAP or kind is _LIST:
                outer.append((here, name, opened))
                here, name = self._open(event, len(outer)), _NO_NAME if kind is _MAP else _LISTED
                opened = len(self.shapes) - 1, event.tag
                event = take()
                continue
            elif kind is _MAP_END or kind is _LIST_END:
                value = self._close(event, here, *opened)
                here, name, opened = outer.pop()
            else:
                value = self._alias(event)
            if name is _LISTED:
                here.append(value)
            elif here is None:
                return value
            elif name is _NO_NAME:
                name = value if _type_of(value) is str else key_of(value)
            else:
                here[name if name not in here else f"{name}\0{len(here)}"] = value
                name = _NO_NAME
            event = take()

    def _open(self, event: Any, depth: int) -> Value:
        """An empty container, recorded; `depth` counts it."""
        if depth > MAX_DEPTH + 1:
            raise EditRefused(f"line {event.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
        shape, start, end, write = self._add
        is_map = _type_of(event) is _MAP
        value: Value = {} if is_map else []
        block, flow = (_MAPPING, _FLOW_MAPPING) if is_map else (_SEQUENCE, _FLOW_SEQUENCE)
        shape(flow if event.flow_style else block)
        start(event.start_mark.index)
        end(0)
        write("")
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _close(self, event: Any, value: Any, number: int, tag: str | None) -> Value:
        """The container `value`, which began with record `number`, whole."""
        shape, start, end, write = self._add
        self.ends[number] = len(self.shapes)
        shape(_END)
        start(event.end_mark.index)
        end(0)
        write("")
        if tag and _type_of(event) is _MAP_END and tag != "tag:yaml.org,2002:map":
            value["\0tag"] = str(tag)
        elif tag and _type_of(event) is _LIST_END and tag != "tag:yaml.org,2002:seq":
            value.insert(0, "\0" + str(tag))
        return value

    def _alias(self, event: Any) -> Value:
        """The value of an anchor, shared."""
        shape, start, end, write = self._add
        shape(_ALIAS)
        start(event.start_mark.index)
        end(event.end_mark.index)
        write("")
        return self.anchors.get(event.anchor, f"*{event.anchor}")


def documents(text: str) -> list[YamlDocument]:
    """Every document of `text`. Raises `EditRefused` for what is no YAML and for what is beyond the bounds."""
    found: list[YamlDocument] = []
    try:
        take: Callable[[], Any] = _LOADER(text).get_event
        while (event := take()) is not None:
            if not isinstance(event, _FRAME):
                found.append(YamlDocument(text, take))
                found[-1].value = found[-1].read(event)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise EditRefused(f"not valid YAML: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise EditRefused(f"not readable as YAML: {type(error).__name__}") from None
    return found


def count_events(text: str) -> int:
    """How many events the compiled parser meets in `text`, which costs it a tenth of handing them out; -1 for what is no YAML."""
    try:
        return int(_LOADER(text).raw_parse())
    except (yaml.YAMLError, ValueError, AttributeError):
        return -1
