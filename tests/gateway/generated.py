"""JSON-RPC messages made up by hypothesis, as bytes: every spelling of numbers, strings and white space."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

SPACE = st.sampled_from([b"", b"", b"", b" ", b"  ", b"\t"])
NUMBERS = st.sampled_from(
    [
        b"0",
        b"-0",
        b"1",
        b"1.0",
        b"1.50",
        b"1E3",
        b"1e-7",
        b"12345678901234567890123",
        b"-9007199254740993",
        b"3.141592653589793238462643",
    ]
)
KEYS = st.sampled_from(["a", "id", "method", "params", "_meta", "x-unknown", "Ü", "progressToken", "result", "\u2028"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12)


@st.composite
def spelled_text(draw: st.DrawFn, value: str | None = None) -> bytes:
    """A string: each character raw, or escaped in a way that parsers must read as the same."""
    value = draw(TEXT) if value is None else value
    out = b""
    for character in value:
        plain = json.dumps(character, ensure_ascii=False)[1:-1].encode()
        escaped = b"".join(b"\\u%04x" % unit for unit in _units(character))
        out += draw(st.sampled_from([plain, plain, plain, escaped, escaped.upper().replace(b"\\U", b"\\u")]))
    return b'"' + out + b'"'


def _units(character: str) -> list[int]:
    raw = character.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]


SCALARS = NUMBERS | spelled_text() | st.sampled_from([b"true", b"false", b"null"])


def _array(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(SPACE, st.lists(inner, max_size=3)).map(lambda it: b"[" + it[0] + (b"," + it[0]).join(it[1]) + b"]")


def _object(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """An object whose keys may come twice."""
    pair = st.tuples(KEYS.flatmap(spelled_text), SPACE, inner).map(lambda it: it[0] + it[1] + b":" + it[1] + it[2])
    return st.tuples(SPACE, st.lists(pair, max_size=3)).map(lambda it: b"{" + it[0] + (it[0] + b"," + it[0]).join(it[1]) + b"}")


VALUES: st.SearchStrategy[bytes] = st.recursive(SCALARS, lambda inner: _array(inner) | _object(inner), max_leaves=6)
"""Any JSON value as bytes on one line."""
ANY_OBJECT = _object(VALUES)


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> bytes:
    """A Python value as one of the many JSON texts that mean it; the order of keys is kept."""
    match value:
        case str():
            return draw(spelled_text(value))
        case dict():
            pairs: list[bytes] = []
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                gap = draw(SPACE)
                pairs.append(draw(spelled_text(str(key))) + gap + b":" + gap + draw(spelled(item)))  # pyright: ignore[reportUnknownArgumentType]
            return b"{" + (b"," + draw(SPACE)).join(pairs) + draw(SPACE) + b"}"
        case list():
            return b"[" + b",".join([draw(spelled(item)) for item in value]) + b"]"  # pyright: ignore[reportUnknownVariableType]
        case Raw():
            return value.text
        case _:
            return json.dumps(value).encode()


class Raw:
    """JSON text inside a Python value, to be written as it is."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Raw({self.text!r})"
