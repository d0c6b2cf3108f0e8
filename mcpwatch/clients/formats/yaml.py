"""YAML by text span: sets or deletes entries of a mapping or list and keeps every other byte.

Owns the edits; `yaml_events` reads, `yaml_tree` finds. Knows no client. A block container gets block lines, a flow container (`{}`,
`[a, b]`) gets flow text; what was put and dropped again leaves the file as it was.
"""

from __future__ import annotations

import json
import re

from mcpwatch.clients.formats.path import MISSING, EditRefused, Element, Entries, Path, Step, Value, elements, members, nest
from mcpwatch.clients.formats.yaml_events import YamlDocument
from mcpwatch.clients.formats.yaml_tree import YamlNode, break_before, eol_of, is_null, line_end, line_start, single
from mcpwatch.clients.formats.yaml_window import LARGE, value_after

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class Yaml:
    """YAML 1.1 as PyYAML reads it."""

    name = "yaml"

    def __init__(self) -> None:
        self._last: tuple[str, YamlDocument | None] | None = None
        """The text that was read last, for the edit that follows its reading. One for all threads: another text is read again."""

    def parse(self, text: str) -> Value:
        """The document, from PyYAML's events; keys, and scalars of rarer types, are texts of their own."""
        last = self._last
        if last is not None and last[1] is not None and last[0] != text and len(text) > LARGE:
            value = value_after(last[1], text)
            if value is not MISSING:
                return value
        document = self._read(text)
        return {} if document is None else document.value

    def forget(self) -> None:
        """Let go of the text that was read last; its values and records take many times its size."""
        self._last = None

    def _read(self, text: str) -> YamlDocument | None:
        last = self._last
        if last is None or last[0] != text:
            self._last = last = (text, single(text))
        return last[1]

    def _root(self, text: str) -> YamlNode | None:
        document = self._read(text)
        return None if document is None else YamlNode(document, 0)

    def put(self, text: str, parent: Path, entries: Entries) -> str:
        """`text` with `entries` in the container at `parent`."""
        node = self._root(text)
        if node is None:
            return _add_lines(text, len(text), _block_all(parent, entries, 0))
        for depth, step in enumerate(parent):
            found = _find(text, node, step)
            if found is None:
                return _insert(text, node, [(step, nest(parent[depth + 1 :], entries))])
            key, inner = node.children[found]
            if is_null(inner):
                if key is None or node.flow:
                    raise _refused(text, inner, "is empty; write {} there")
                return _add_lines(text, line_end(text, inner.end), _block_all(parent[depth + 1 :], entries, key.column + 2))
            node = inner
        here = _find(text, node, entries[0][0])
        if here is None or len(entries) > 1:
            return _insert(text, node, entries)
        return _replace(text, node, here, *entries[0])

    def drop(self, text: str, path: Path) -> str:
        """`text` without the entry at `path`."""
        node = self._root(text)
        for depth, step in enumerate(path):
            found = None if node is None or is_null(node) else _find(text, node, step)
            if node is None or found is None:
                return text
            if depth == len(path) - 1:
                return _remove(text, node, found)
            node = node.children[found][1]
        return text


# ---- finding -----------------------------------------------------------------------------------------------------------


def _refused(text: str, node: YamlNode, what: str) -> EditRefused:
    return EditRefused(f"line {text.count(chr(10), 0, node.start) + 1}: the value here {what}")


def _find(text: str, node: YamlNode, step: Step) -> int | None:
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


def _matches(node: YamlNode, step: Element) -> bool:
    for part in step.field.split(".") if step.field else ():
        inner = [value for key, value in node.children if node.shape == "map" and key and key.text == part]
        if not inner:
            return False
        node = inner[0]
    return node.shape == "scalar" and node.text == step.value


# ---- writing -----------------------------------------------------------------------------------------------------------


def _add_lines(text: str, at: int, lines: list[str]) -> str:
    eol = eol_of(text)
    block = eol.join(lines)
    if at == len(text) and text and break_before(text, at) == at:
        return text + eol + block
    return text[:at] + block + eol + text[at:]


def _insert(text: str, node: YamlNode, entries: Entries) -> str:
    if node.flow:
        opening = _opening(text, node)
        body = ", ".join(_flow(step, value) for step, value in entries)
        if not node.children:
            return text[: opening + 1] + body + text[opening + 1 :]
        last = node.children[-1][1].end
        return f"{text[:last]}, {body}{text[last:]}"
    key, last = node.children[-1]
    column = _column(text, key) if key else _dash(text, last)
    lines = [line for step, value in entries for line in _block((step,), value, column)]
    if _ends_open(text, last):
        return _add_lines(text, _first_line(text, node), lines)
    return _add_lines(text, line_end(text, last.end), lines)


def _ends_open(text: str, node: YamlNode) -> bool:
    """Whether the file ends in this value's block scalar, on a line without a break: a line after it would add one to it."""
    while node.children and not node.flow:
        node = node.children[-1][1]
    return node.block_scalar and line_end(text, node.end) == len(text) and break_before(text, len(text)) == len(text)


def _first_line(text: str, node: YamlNode) -> int:
    """Where the line of a block container's first entry begins."""
    key, item = node.children[0]
    start = line_start(text, key.start if key else item.start)
    if text[start : key.start if key else item.start].strip(" ") != ("" if key else "-"):
        raise _refused(text, item, "shares its line with something else")
    return start


def _opening(text: str, node: YamlNode) -> int:
    """Where the bracket of a flow container is, behind its tag and anchor."""
    at = node.start
    while text[at] in "&!":
        while not text[at].isspace():
            at += 1
        while text[at].isspace():
            at += 1
    if text[at] not in "[{":
        raise _refused(text, node, "carries a tag or an anchor with a comment")
    return at


def _column(text: str, key: YamlNode) -> int:
    """The column of a key, or of the question mark before it."""
    lead = text[line_start(text, key.start) : key.start]
    return lead.index("?") if lead.strip(" ") == "?" else key.column


def _dash(text: str, item: YamlNode) -> int:
    """The column of the dash of a list's item."""
    start = line_start(text, item.start)
    lead = text[start : item.start]
    if lead.strip(" ") != "-":
        raise _refused(text, item, "shares its line with something else")
    return lead.index("-")


def _replace(text: str, node: YamlNode, index: int, step: Step, value: Value) -> str:
    key, item = node.children[index]
    start = key.start if key else item.start
    if node.flow:
        return text[:start] + _flow(step, value) + text[item.end :]
    column = key.column if key else item.column
    lines = _block((step,), value, column) if key else _members(value, column)
    return text[:start] + eol_of(text).join(lines).lstrip(" ") + text[item.end :]


def _remove(text: str, node: YamlNode, index: int) -> str:
    key, item = node.children[index]
    start = key.start if key else item.start
    if node.flow:
        return _remove_flow(text, node, index, start)
    begin, end = line_start(text, start), line_end(text, item.end)
    lead = text[begin:start].strip(" ")
    if lead != ("" if key else "-"):
        raise _refused(text, item, "shares its line with something else")
    if end == len(text) and break_before(text, end) == end:
        return text[: break_before(text, begin)]
    return text[:begin] + text[end:]


def _remove_flow(text: str, node: YamlNode, index: int, start: int) -> str:
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


def _flow(step: Step, value: Value) -> str:
    body = json.dumps(value, ensure_ascii=False)
    return body if isinstance(step, Element) else f"{json.dumps(step, ensure_ascii=False)}: {body}"


def _block_all(parent: Path, entries: Entries, column: int) -> list[str]:
    """The lines that put `entries` into a new container at `parent` below a block container whose entries start at `column`."""
    head = [f"{' ' * (column + 2 * depth)}{_scalar(step)}:" for depth, step in enumerate(parent) if isinstance(step, str)]
    if len(head) < len(parent):
        raise EditRefused("a list in a list is not edited in YAML")
    inner = column + 2 * len(parent)
    return [*head, *(line for step, value in entries for line in _block((step,), value, inner))]


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
    if not members(value):
        return [" " * column + _scalar(value)]
    return [line for key, item in members(value).items() for line in _member(key, item, column)]


def _member(key: str, value: Value, column: int) -> list[str]:
    head = f"{' ' * column}{_scalar(key)}:"
    if members(value):
        return [head, *_members(value, column + 2)]
    if (items := elements(value)) and all(members(item) for item in items):
        return [head, *(line for item in items for line in _item(item, column + 2))]
    return [f"{head} {_scalar(value)}"]


def _item(value: Value, column: int) -> list[str]:
    lines = _members(value, column + 2)
    return [f"{' ' * column}- {lines[0].lstrip(' ')}", *lines[1:]]


def _scalar(value: Value) -> str:
    """A scalar (or a list, in flow style) as it is written; strings are plain only when nobody could read them otherwise."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
