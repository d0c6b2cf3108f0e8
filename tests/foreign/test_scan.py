"""The parts that read foreign text outside the editors: right, bounded, and linear in whatever they are given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.clients.rotation import edited
from mcpwatch.clients.tokens import Tokens, digest
from mcpwatch.foreign import json_text
from mcpwatch.foreign.file import Unreadable, read
from mcpwatch.foreign.scan import bracket_end, plain, string_end, trivia_end
from mcpwatch.foreign.shape import same, within
from mcpwatch.foreign.variables import Expansion, expand, read_env, spelled
from tests.growth import must_be_linear

VARIABLES = {"A": "x"}


def filled(text: str) -> object:
    return expand([text], VARIABLES, Expansion(), dollar=True, foreign=True)


HOSTILE: dict[str, tuple[Callable[[str], object], Callable[[int], str]]] = {
    "plain: comments": (plain, lambda n: "/*c*/ " * n),
    "plain: openings": (plain, lambda n: "/*/" * n),
    "plain: quotes": (plain, lambda n: '"\\"' * n),
    "plain: commas": (plain, lambda n: ", // c\n" * n + "]"),
    "brackets": (lambda text: bracket_end(text, 0), lambda n: "[" * n + '"/"' * n),
    "trivia": (lambda text: trivia_end(text, 0), lambda n: "/**/ //\n" * n),
    "string": (lambda text: string_end(text, 0), lambda n: '"' + '\\"' * n),
    "JSON: members": (lambda text: json_text.read(text, "f"), lambda n: "{" + ", ".join(f'"k{i}": [1]' for i in range(n)) + "}"),
    "JSON: lines": (lambda text: json_text.read(text, "f"), lambda n: "[" + "1,\n" * n + "1]"),
    "JSON: depth": (lambda text: json_text.read(text, "f"), lambda n: "[" * n),
    "JSON: digits": (lambda text: json_text.read(text, "f"), lambda n: "1" * n),
    "JSON: a duplicate each": (lambda text: json_text.read(text, "f"), lambda n: "{" + '"a": 1, ' * n + '"a": 1}'),
    "variables: openings": (filled, lambda n: "${a:-" * n),
    "variables: dollars": (filled, lambda n: "$" * n),
    "variables: names": (filled, lambda n: "${A}$A" * n),
    "spelled: openings": (lambda text: spelled(text, dollar=True), lambda n: "${input:" * n),
    "env: blanks before no comment": (read_env, lambda n: "A=x" + " " * n + "y"),
    "env: lines": (read_env, lambda n: 'A="x\\"y" # c\n' * n),
    "env: an open quote": (read_env, lambda n: 'A="' + '\\"' * n),
    "env edited": (lambda text: edited(text, {"B": "1"}), lambda n: " \tA = 1\r\n" * n),
    "tokens: words": (Tokens(frozenset({digest("x")})).holds_dead, lambda n: "a=b:c\\\\d " * n),
    "tokens: signs": (Tokens(frozenset({digest("x")})).holds_dead, lambda n: "=:" * n),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", HOSTILE)
def test_eight_times_the_text_takes_about_eight_times_the_time(name: str) -> None:
    must_be_linear(*HOSTILE[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a/*,"\\]} \n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='b/*",', max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_standard_json_is_its_own_plain_text(value: Any) -> None:
    text = json.dumps(value, indent=1)
    assert plain(text) == text
    commented = text.replace("\n", " // , ]\n").replace(": ", ': /* " } */ ') if '"' not in text else text
    assert json.loads(plain(commented)) == value


def test_shapes_are_compared_and_measured_without_recursion() -> None:
    one: list[Any] = []
    other: list[Any] = []
    for _ in range(10_000):
        one, other = [one], [other]
    assert same(one, other)
    circle: list[Any] = [1]
    circle.append(circle)
    assert not within(circle, 1000)
    assert same(circle, circle)
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same({"a": 1}, {"a": True})
    assert same(float("nan"), float("nan"))


def test_a_file_is_read_as_text_or_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert read(path) is None
    path.write_bytes(b"\xef\xbb\xbfabc")
    found = read(path)
    assert found is not None
    assert (found.text, found.data[:3]) == ("abc", b"\xef\xbb\xbf")
    for data, why in ((b"\xff\xfea\x00", "UTF-16"), (b"\xff", "not UTF-8"), (b"x" * 11, "larger than")):
        path.write_bytes(data)
        with pytest.raises(Unreadable, match=why):
            read(path, 10)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for odd in (pipe, tmp_path):
        with pytest.raises(Unreadable, match="not a regular file"):
            read(odd)
