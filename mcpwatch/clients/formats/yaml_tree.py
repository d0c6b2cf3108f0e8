"""A document of YAML as a light tree of spans. A node looks up what it is asked for; nothing is made of what nobody asks for."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.formats.yaml_events import EventKind, YamlDocument, documents

_BREAK = re.compile("[\n\r\x85\u2028\u2029]")
_SHAPES: dict[int, Literal["scalar", "alias", "map", "list"]] = {
    EventKind.ALIAS: "alias",
    EventKind.MAP: "map",
    EventKind.FLOW_MAP: "map",
    EventKind.LIST: "list",
    EventKind.FLOW_LIST: "list",
}


class YamlNode:
    """A value in the text: `shape`, and its span from `start` to `end`."""

    def __init__(self, document: YamlDocument, number: int) -> None:
        self._document = document
        self._number = number
        self._shape = document.shapes[number]
        self.shape = _SHAPES.get(self._shape, "scalar")
        self.start = document.starts[number]
        self.text = document.texts[number]

    @property
    def column(self) -> int:
        """Characters before it on its line."""
        return self.start - line_start(self._document.text, self.start)

    @property
    def flow(self) -> bool:
        """Whether it is a container in brackets."""
        return self._shape in (EventKind.FLOW_MAP, EventKind.FLOW_LIST)

    @property
    def plain(self) -> bool:
        """Whether it is a scalar without quotes."""
        return self._shape == EventKind.PLAIN

    @property
    def block_scalar(self) -> bool:
        """Whether it is a text after `|` or `>`."""
        return self._shape == EventKind.BLOCK_SCALAR

    @cached_property
    def end(self) -> int:
        """The end of the last thing in it, not of the blank lines after."""
        last = self._document.ends[self._number]
        if self.block_scalar:
            return _block_end(self._document.text, self.start, last)
        if self.shape in ("scalar", "alias"):
            return last
        return self.children[-1][1].end if self.children and not self.flow else self._document.starts[last]

    @cached_property
    def children(self) -> tuple[tuple[YamlNode | None, YamlNode], ...]:
        """The pairs of a mapping; the elements of a list, each with no key."""
        if self.shape in ("scalar", "alias"):
            return ()
        nodes: list[YamlNode] = []
        at, last = self._number + 1, self._document.ends[self._number]
        while at < last:
            nodes.append(YamlNode(self._document, at))
            at = self._document.ends[at] + 1 if self._document.shapes[at] > EventKind.END else at + 1
        if self.shape == "list":
            return tuple((None, node) for node in nodes)
        return tuple(zip(nodes[::2], nodes[1::2], strict=True))


def single(text: str) -> YamlDocument | None:
    """The one document of `text`, or `None` when it holds nothing but comments. Raises `EditRefused` for several."""
    found = documents(text)
    if len(found) > 1:
        raise EditRefused("holds several YAML documents")
    return None if not found or is_null(YamlNode(found[0], 0)) else found[0]


def _block_end(text: str, start: int, end: int) -> int:
    """Where a block scalar ends: set back from the line its mark is on to its own last line."""
    header = text[start : line_end(text, start)].split("#", maxsplit=1)[0]
    at = _back(text, end, " ")
    return break_before(text, at) if "+" in header else _back(text, at, " \t\r\n\x85\u2028\u2029")


def _back(text: str, at: int, what: str) -> int:
    while at > 0 and text[at - 1] in what:
        at -= 1
    return at


def is_null(node: YamlNode) -> bool:
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
