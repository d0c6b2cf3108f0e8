"""Scanners for JSON with comments that read each character a bounded number of times, whatever the text. Pure.

`re` is used for runs and searches of one character class only: such a pattern has nothing to go back to. A text that is broken
(a string or comment never closed) ends a scan at once, so that no second attempt starts inside it.
"""

from __future__ import annotations

import re

_BLANK = re.compile(r"[ \t\r\n]*")
_LINE = re.compile(r"[^\r\n]*")
_VISIBLE = re.compile(r"[^\r\n]")
_SPECIAL = re.compile(r'["/,]')
_BRACKET = re.compile(r'["/\[\]{}]')


def string_end(text: str, at: int) -> int:
    """Just after the closing quote of the string that opens at `at`, or -1. A backslash takes the next character's meaning."""
    quote = text[at]
    start = at
    while True:
        at = text.find(quote, at + 1)
        if at < 0:
            return -1
        back = at
        while back - 1 > start and text[back - 1] == "\\":
            back -= 1
        if (at - back) % 2 == 0:
            return at + 1


def blank_end(text: str, at: int) -> int:
    """Just after the white space at `at`."""
    match = _BLANK.match(text, at)
    return match.end() if match else at


def line_end(text: str, at: int) -> int:
    """Where the line of `at` ends, before its line break."""
    match = _LINE.match(text, at)
    return match.end() if match else at


def comment_end(text: str, at: int) -> int:
    """Just after the comment that opens at `at`: before the line break of `//`, after `*/`. `at` when none opens; -1 unclosed."""
    if text.startswith("//", at):
        return line_end(text, at)
    if text.startswith("/*", at):
        end = text.find("*/", at + 2)
        return -1 if end < 0 else end + 2
    return at


def trivia_end(text: str, at: int) -> int:
    """Just after the white space and comments at `at`; an unclosed comment is not passed."""
    return trivia(text, at)[0]


def trivia(text: str, at: int, stop: int | None = None) -> tuple[int, bool]:
    """As `trivia_end`, at most up to `stop`, and whether that end is in (or right after) a `//` comment of the same line."""
    limit = len(text) if stop is None else stop
    in_line = False
    while True:
        blank = min(blank_end(text, at), limit)
        in_line = in_line and "\n" not in text[at:blank] and "\r" not in text[at:blank]
        at = blank
        end = comment_end(text, at) if at < limit else at
        if end in (at, -1) or end > limit:
            return at, in_line
        in_line = text[at + 1] == "/"
        at = end


def bracket_end(text: str, at: int) -> int:
    """Just after the bracket that closes the one at `at`, or -1. Which kind closes which is not looked at."""
    depth = 0
    while True:
        match = _BRACKET.search(text, at)
        if match is None:
            return -1
        at, sign = match.end(), match.group()
        if sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            if depth == 0:
                return at
        else:
            end = string_end(text, at - 1) if sign == '"' else comment_end(text, at - 1)
            if end < 0:
                return -1
            at = max(at, end)


def plain(text: str) -> str:
    """Standard JSON: comments and trailing commas of `text` as blanks, every other character in its place."""
    pieces: list[str] = []
    done = at = 0
    while (match := _SPECIAL.search(text, at)) is not None:
        start, sign = match.start(), match.group()
        if sign == '"':
            end = string_end(text, start)
        elif sign == "/":
            end = comment_end(text, start)
            if end > start:
                pieces += (text[done:start], _VISIBLE.sub(" ", text[start:end]))
                done = end
        else:
            end = start + 1
            after = trivia_end(text, end)
            if text[after : after + 1] in ("]", "}"):
                pieces += (text[done:start], " ")
                done = end
        if end < 0:
            break
        at = max(end, start + 1)
    pieces.append(text[done:])
    return "".join(pieces)
