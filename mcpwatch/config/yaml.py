"""YAML text to a document and back: the only door to ruamel.yaml. Knows nothing of what the keys mean.

Reading walks the node graph, so that every key keeps its line and *every* duplicate is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import LiteralScalarString

from mcpwatch.foreign.document import Document, Path, Value, duplicate
from mcpwatch.model.errors import ConfigError, Fault

MAX_DEPTH = 100
"""Levels of nesting; bounds the recursion."""

MAX_NODES = 50_000
"""Values one document may hold, aliases counted each time they are used: bounds an alias bomb."""

_TAG = "tag:yaml.org,2002:"


def read(text: str, file: str) -> Document:
    """The document in `text`. Raises `ConfigError` when it is no YAML at all; duplicate keys become faults of the document."""
    reader: Any = YAML(typ="safe", pure=True)
    try:
        node: Any = reader.compose(text)
    except MarkedYAMLError as error:
        marked: Any = error
        mark = marked.problem_mark or marked.context_mark
        what = ", ".join(str(part) for part in (marked.context, marked.problem) if part) or "cannot be understood"
        raise ConfigError(Fault("", f"not YAML: {what}", file, mark.line + 1 if mark else None)) from None
    except RecursionError:
        raise ConfigError(Fault("", f"nested deeper than {MAX_DEPTH} levels", file)) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(Fault("", f"not YAML: {' '.join(str(error).split())}", file)) from None
    walk = _Walk(file)
    data = walk.value(node, ()) if node is not None else None
    return Document(data, walk.lines, file, tuple(walk.faults))


class _Walk:
    """One pass over the node graph: collects lines and faults, answers plain values."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self.count = 0
        self.above: list[int] = []
        self.scalars: Any = YAML(typ="safe", pure=True).constructor

    def value(self, node: Any, path: Path) -> Value:
        line = int(node.start_mark.line) + 1
        self.lines.setdefault(path, line)
        self.count += 1
        if id(node) in self.above:
            raise ConfigError(Fault("", "an alias holds itself; write the value out", self.file, line))
        if len(self.above) > MAX_DEPTH:
            raise ConfigError(Fault("", f"nested deeper than {MAX_DEPTH} levels", self.file, line))
        if self.count > MAX_NODES:
            raise ConfigError(Fault("", f"more than {MAX_NODES} values; are aliases nested?", self.file, line))
        if isinstance(node, ScalarNode):
            return self.scalar(node, path)
        self.above.append(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(_items(node))]
            return self.mapping(node, path)
        finally:
            self.above.pop()

    def scalar(self, node: Any, path: Path) -> Value:
        tag = str(node.tag)
        if tag in {_TAG + "timestamp", _TAG + "binary"} or not tag.startswith(_TAG):
            return _text(node)
        try:
            made: object = self.scalars.construct_object(node)
        except (YAMLError, ValueError) as error:
            self.faults.append(Document(None, self.lines, self.file).fault(path, f"cannot be read: {' '.join(str(error).split())}"))
            return None
        return made if made is None or isinstance(made, (bool, int, float)) else str(made)

    def mapping(self, node: Any, path: Path) -> Value:
        made: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in _items(node):
            if str(key_node.tag) == _TAG + "merge":
                merged = self.merge(value_node, path) | merged
                continue
            line = int(key_node.start_mark.line) + 1
            if not isinstance(key_node, ScalarNode):
                self.faults.append(Fault("", "a key must be plain text", self.file, line))
                continue
            key = _text(key_node)
            where = (*path, key)
            if key in made:
                self.faults.append(duplicate(where, self.lines[where], line, self.file))
                continue
            self.lines[where] = line
            made[key] = self.value(value_node, where)
        return {**{key: value for key, value in merged.items() if key not in made}, **made} if merged else made

    def merge(self, node: Any, path: Path) -> dict[str, Value]:
        """What `<<: *other` brings; the first of several wins."""
        sources = _items(node) if isinstance(node, SequenceNode) else [node]
        made: dict[str, Value] = {}
        for source in sources:
            value = self.value(source, path)
            if isinstance(value, dict):
                made = {**value, **made}
        return made


def _text(node: Any) -> str:
    return str(node.value)


def _items(node: Any) -> list[Any]:
    return list(node.value)


def dump(value: object) -> str:
    """`value` as YAML text: two spaces, lists indented, no line folded."""
    writer: Any = YAML(typ="rt", pure=True)
    writer.preserve_quotes = True
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    out = StringIO()
    writer.dump(value, out)
    return out.getvalue()


def block(text: str) -> str:
    """`text`, which `dump` writes as a block of lines (`|`); quoted when it holds what no block can: control and odd characters."""
    return LiteralScalarString(text) if all(one in "\n\t" or one.isprintable() for one in text) else text


def commented(value: Mapping[str, Any]) -> Any:
    """A mapping for `dump` that comments can be put on."""
    return CommentedMap(value)


def remark(mapping: Any, key: str, comment: str, column: int) -> None:
    """Put a comment line before `key`, indented by `column`."""
    mapping.yaml_set_comment_before_after_key(key, before=comment, indent=column)
