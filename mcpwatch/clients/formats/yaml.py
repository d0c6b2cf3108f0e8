"""YAML by text span: sets or deletes one entry of a mapping or list and keeps every other byte.

The one door to PyYAML in this room. Owns a light tree of spans made from parser events (nodes of `compose` would give an alias
the place of its anchor). Knows no client. A block container gets block lines, a flow container (`{}`, `[a, b]`) gets flow
text; what was put and dropped again leaves the file as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import yaml

from mcpwatch.clients.formats.path import EditRefused, Element, Path, Step, Value

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@dataclass(frozen=True, slots=True)
class _Node:
    """A value in the text: `shape`, its span (`end` is that of the last thing in it, not of the blank lines after)."""

    shape: Literal["scalar", "alias", "map", "list"]
    start: int
    end: int
    column: int
    flow: bool = False
    text: str = ""
    plain: bool = False
    children: tuple[tuple[_Node | None, _Node], ...] = ()


class Yaml:
    """YAML 1.1 as PyYAML reads it."""

    name = "yaml"

    def parse(self, text: str) -> Value:
        """The document, read by `yaml.safe_load`."""
        try:
            document: Value = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
            raise EditRefused(f"not valid YAML: {line}{error.problem}") from None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise EditRefused(f"not readable as YAML: {type(error).__name__}") from None
        return {} if document is None else document

    def put(self, text: str, path: Path, value: Value) -> str:
        """`text` with the entry at `path` set."""
        node = _root(text)
        if node is None:
            return _add_lines(text, len(text), _block(path, value, 0))
        for depth, step in enumerate(path):
            found = _find(text, node, step)
            rest = path[depth + 1 :]
            if found is None:
                return _insert(text, node, path[depth:], value)
            if not rest:
                return _replace(text, node, found, step, value)
            key, inner = node.children[found]
            if _is_null(inner):
                if key is None or node.flow:
                    raise _refused(text, inner, "is empty; write {} there")
                return _add_lines(text, _line_end(text, inner.end), _block(rest, value, key.column + 2))
            node = inner
        raise EditRefused("an empty path")

    def drop(self, text: str, path: Path) -> str:
        """`text` without the entry at `path`."""
        node = _root(text)
        for depth, step in enumerate(path):
            found = None if node is None or _is_null(node) else _find(text, node, step)
            if node is None or found is None:
                return text
            if depth == len(path) - 1:
                return _remove(text, node, found)
            node = node.children[found][1]
        raise EditRefused("an empty path")


# ---- reading -----------------------------------------------------------------------------------------------------------


def _root(text: str) -> _Node | None:
    """The one document of `text`, or `None` when it holds nothing but comments."""
    try:
        events = iter(list(yaml.parse(text, Loader=yaml.SafeLoader)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    except yaml.YAMLError as error:
        raise EditRefused(f"not valid YAML: {type(error).__name__}") from None
    roots = [_node(text, event, events) for event in events if not isinstance(event, _FRAME)]
    if len(roots) > 1:
        raise EditRefused("holds several YAML documents")
    return None if not roots or _is_null(roots[0]) else roots[0]


_FRAME = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)


def _node(text: str, event: Any, events: Iterator[Any]) -> _Node:
    start, column = event.start_mark.index, event.start_mark.column
    flow = bool(getattr(event, "flow_style", False))
    inner: Any
    if isinstance(event, yaml.MappingStartEvent):
        pairs: list[tuple[_Node | None, _Node]] = []
        while not isinstance(inner := next(events), yaml.MappingEndEvent):
            pairs.append((_node(text, inner, events), _node(text, next(events), events)))
        end = int(cast("Any", inner).end_mark.index) if flow or not pairs else pairs[-1][1].end
        return _Node("map", start, end, column, flow=flow, children=tuple(pairs))
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[tuple[_Node | None, _Node]] = []
        while not isinstance(inner := next(events), yaml.SequenceEndEvent):
            items.append((None, _node(text, inner, events)))
        end = int(cast("Any", inner).end_mark.index) if flow or not items else items[-1][1].end
        return _Node("list", start, end, column, flow=flow, children=tuple(items))
    if isinstance(event, yaml.AliasEvent):
        return _Node("alias", start, int(cast("Any", event).end_mark.index), column)
    return _Node("scalar", start, _scalar_end(text, event), column, text=str(event.value), plain=not event.style)


def _scalar_end(text: str, event: Any) -> int:
    """Where a scalar ends; that of a block scalar is set back from the line its mark is on to its own last line."""
    end = int(event.end_mark.index)
    if event.style not in ("|", ">"):
        return end
    header = text[event.start_mark.index : _line_end(text, event.start_mark.index)].split("#", maxsplit=1)[0]
    body = text[:end].rstrip(" ")
    return len(body.removesuffix("\n").removesuffix("\r")) if "+" in header else len(body.rstrip(" \t\r\n"))


def _is_null(node: _Node) -> bool:
    return node.shape == "scalar" and node.plain and not node.text


def _refused(text: str, node: _Node, what: str) -> EditRefused:
    return EditRefused(f"line {text.count(chr(10), 0, node.start) + 1}: the value here {what}")


def _find(text: str, node: _Node, step: Step) -> int | None:
    wanted = "list" if isinstance(step, Element) else "map"
    if node.shape != wanted:
        raise _refused(text, node, f"should be a {'list' if wanted == 'list' else 'mapping'}")
    if isinstance(step, Element):
        hits = [index for index, (_, item) in enumerate(node.children) if _matches(item, step)]
    else:
        hits = [index for index, (key, _) in enumerate(node.children) if key and key.shape == "scalar" and key.text == step]
    if len(hits) > 1:
        raise _refused(text, node.children[hits[1]][1], "is there twice")
    return hits[0] if hits else None


def _matches(node: _Node, step: Element) -> bool:
    for part in step.field.split(".") if step.field else ():
        inner = [value for key, value in node.children if node.shape == "map" and key and key.text == part]
        if not inner:
            return False
        node = inner[0]
    return node.shape == "scalar" and node.text == step.value


# ---- writing -----------------------------------------------------------------------------------------------------------


def _eol(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _add_lines(text: str, at: int, lines: list[str]) -> str:
    eol = _eol(text)
    block = eol.join(lines)
    if at == len(text) and text and not text.endswith("\n"):
        return text + eol + block
    return text[:at] + block + eol + text[at:]


def _insert(text: str, node: _Node, path: Path, value: Value) -> str:
    if node.flow:
        opening = text[node.start]
        if opening not in "[{":
            raise _refused(text, node, "carries a tag or an anchor")
        body = _flow(path, value)
        if not node.children:
            return text[: node.start + 1] + body + text[node.start + 1 :]
        last = node.children[-1][1].end
        return f"{text[:last]}, {body}{text[last:]}"
    key, last = node.children[-1]
    column = key.column if key else node.column
    return _add_lines(text, _line_end(text, last.end), _block(path, value, column))


def _replace(text: str, node: _Node, index: int, step: Step, value: Value) -> str:
    key, item = node.children[index]
    start = key.start if key else item.start
    if node.flow:
        return text[:start] + _flow((step,), value) + text[item.end :]
    column = key.column if key else item.column
    lines = _block((step,), value, column) if key else _members(value, column)
    return text[:start] + _eol(text).join(lines).lstrip(" ") + text[item.end :]


def _remove(text: str, node: _Node, index: int) -> str:
    key, item = node.children[index]
    start = key.start if key else item.start
    if node.flow:
        return _remove_flow(text, node, index, start)
    begin, end = _line_start(text, start), _line_end(text, item.end)
    lead = text[begin:start].strip(" ")
    if lead != ("" if key else "-"):
        raise _refused(text, item, "shares its line with something else")
    if end == len(text) and not text.endswith("\n"):
        return text[:begin].removesuffix("\n").removesuffix("\r")
    return text[:begin] + text[end:]


def _remove_flow(text: str, node: _Node, index: int, start: int) -> str:
    end = node.children[index][1].end
    if index > 0:
        begin = node.children[index - 1][1].end
        between = text[begin:start]
    else:
        begin = start
        key, item = node.children[1] if len(node.children) > 1 else (None, None)
        upto = key.start if key else item.start if item else end
        between = text[end:upto] if upto != end else ","
        end = upto
    if between.strip() != ",":
        raise _refused(text, node.children[index][1], "has a comment beside it")
    return text[:begin] + text[end:]


def _flow(path: Path, value: Value) -> str:
    for step in reversed(path[1:]):
        value = [value] if isinstance(step, Element) else {step: value}
    body = json.dumps(value, ensure_ascii=False)
    return body if isinstance(path[0], Element) else f"{json.dumps(path[0], ensure_ascii=False)}: {body}"


def _block(path: Path, value: Value, column: int) -> list[str]:
    """The lines that put `value` at `path` into a block container whose entries start at `column`."""
    step, rest = path[0], path[1:]
    pad = " " * column
    if isinstance(step, Element):
        lines = _block(rest, value, column + 2) if rest else _members(value, column + 2)
        return [pad + "- " + lines[0].lstrip(" "), *lines[1:]]
    if rest:
        return [f"{pad}{_scalar(step)}:", *_block(rest, value, column + 2)]
    return _member(step, value, column)


def _members(value: Value, column: int) -> list[str]:
    if not isinstance(value, dict):
        return [" " * column + _scalar(value)]
    members = cast("dict[str, Value]", value)
    return [line for key, item in members.items() for line in _member(key, item, column)]


def _member(key: str, value: Value, column: int) -> list[str]:
    head = f"{' ' * column}{_scalar(key)}:"
    if isinstance(value, dict) and value:
        return [head, *_members(cast("Value", value), column + 2)]
    return [f"{head} {_scalar(value)}"]


def _scalar(value: Value) -> str:
    """A scalar (or a list, in flow style) as it is written; strings are plain only when nobody could read them otherwise."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
