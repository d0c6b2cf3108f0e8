"""JSON text to a document: the standard grammar with what `json.loads` throws away, lines and every duplicate key.

Comments and trailing commas are passed over, as the clients do whose files these are.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from json import JSONDecodeError, decoder

from mcpwatch.foreign.document import Document, Path, Value, duplicate
from mcpwatch.foreign.scan import plain
from mcpwatch.model.errors import ConfigError, Fault

MAX_DEPTH = 200
"""Levels of nesting; bounds the recursion."""

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_SCAN: Callable[[str, int], tuple[str, int]] = getattr(decoder, "scanstring")  # noqa: B009  # public, but unknown to the type stubs
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}


def read(text: str, file: str) -> Document:
    """The document in `text`. Raises `ConfigError` when it is no JSON; duplicate keys become faults of the document."""
    walk = _Walk(plain(text.removeprefix("\ufeff")), file)
    return Document(walk.whole(), walk.lines, file, tuple(walk.faults))


class _Walk:
    """One pass over the text: collects lines and faults, answers plain values."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.at = text, file, 0
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self.ends = [index for index, letter in enumerate(text) if letter == "\n"]

    def line(self) -> int:
        return bisect.bisect_left(self.ends, self.at) + 1

    def wrong(self, what: str) -> ConfigError:
        return ConfigError(Fault("", f"not JSON: {what}", self.file, self.line()))

    def skip(self) -> str:
        """Past white space; answers the next character, or the empty string at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def whole(self) -> Value:
        self.skip()
        made = self.value((), 0)
        if self.skip():
            raise self.wrong("something follows the end of the document")
        return made

    def value(self, path: Path, depth: int) -> Value:
        self.lines.setdefault(path, self.line())
        if depth > MAX_DEPTH:
            raise self.wrong(f"nested deeper than {MAX_DEPTH} levels")
        letter = self.text[self.at : self.at + 1]
        if letter == "{":
            return self.object(path, depth)
        if letter == "[":
            return self.array(path, depth)
        if letter == '"':
            return self.string()
        for word, made in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return made
        if match := _NUMBER.match(self.text, self.at):
            try:
                made = float(match[0]) if match[1] or match[2] else int(match[0])
            except ValueError:
                raise self.wrong("a number with too many digits") from None
            self.at = match.end()
            return made
        raise self.wrong("a value is missing here" if letter else "the text ends too early")

    def string(self) -> str:
        try:
            made, self.at = _SCAN(self.text, self.at + 1)
        except JSONDecodeError as error:
            raise self.wrong(error.msg.lower().removesuffix(" starting at")) from None
        return made

    def object(self, path: Path, depth: int) -> Value:
        made: dict[str, Value] = {}
        self.at += 1
        if self.skip() == "}":
            self.at += 1
            return made
        while True:
            if self.skip() != '"':
                raise self.wrong("a key in double quotes is missing here (is there a comma too many before it?)")
            line, key = self.line(), self.string()
            if self.skip() != ":":
                raise self.wrong("a ':' is missing after a key")
            self.at += 1
            self.skip()
            where = (*path, key)
            if key in made:
                self.faults.append(duplicate(where, self.lines[where], line, self.file))
                keep, self.lines = self.lines, {}
                self.value(where, depth + 1)
                self.lines = keep
            else:
                self.lines[where] = line
                made[key] = self.value(where, depth + 1)
            if self.ends_with("}"):
                return made

    def array(self, path: Path, depth: int) -> Value:
        made: list[Value] = []
        self.at += 1
        if self.skip() == "]":
            self.at += 1
            return made
        while True:
            self.skip()
            made.append(self.value((*path, len(made)), depth + 1))
            if self.ends_with("]"):
                return made

    def ends_with(self, closing: str) -> bool:
        """Past a comma (more follows) or the closing bracket (nothing does)."""
        letter = self.skip()
        if letter not in {",", closing} or not letter:
            raise self.wrong(f"a ',' or '{closing}' is missing here" if letter else "the text ends too early")
        self.at += 1
        return letter == closing
