"""Reading again only the lines around a change gives what reading everything gives, whatever text and change; or nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpwatch.clients.formats import yaml as yaml_format
from mcpwatch.clients.formats import yaml_window
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import MISSING, EditRefused, Element, Path, Value
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.clients.formats.yaml_events import YamlDocument
from mcpwatch.clients.formats.yaml_tree import single
from mcpwatch.clients.formats.yaml_window import value_after
from mcpwatch.foreign.shape import same
from tests.clients import documents

MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
ENTRY = {"type": "sse", "url": "http://h/a/sse"}
SIGNS = st.text(alphabet=st.sampled_from(list("ab:#-?|>+%!&*'\"{}[],\\ \n\r\t\x85é\ufeff.0")), max_size=6)
KINDS = "a: 1, - a, - a: 1, z:, ? a, : b, ---, ..., %TAG ! x, k: |+, k: |, k: >-, k: ', \", # c, \t, &x a: 1, *x, <<: {}, !t, a: !t"
LINES = st.builds(
    "{}{}{}\n".format, st.sampled_from(["", "\n"]), st.sampled_from(["", " ", "  ", "    "]), st.sampled_from(KINDS.split(", "))
)
TEXTS = st.one_of(documents.yaml(), documents.yaml(listed=True))


def read(text: str) -> YamlDocument | None:
    """Everything, or nothing where it is refused."""
    try:
        return single(text)
    except EditRefused:
        return None


def after(text: str, new: str) -> Value:
    """The value by the lines around the change; where there is one, reading everything must give the same."""
    document, whole = read(text), read(new)
    if document is None or text == new:
        return MISSING
    value = value_after(document, new)
    assert value is MISSING or (whole is not None and same(value, whole.value)), (text, new)
    return value


@MANY
@given(TEXTS, st.one_of(SIGNS, LINES), st.floats(0, 1), st.integers(0, 30))
def test_signs_put_anywhere_are_read_as_what_they_are(text: str, piece: str, where: float, gone: int) -> None:
    at = int(where * len(text))
    after(text, text[:at] + piece + text[at + gone :])


@MANY
@given(TEXTS, st.one_of(LINES, TEXTS), st.floats(0, 1), st.floats(0, 1))
def test_lines_of_another_text_are_read_as_what_they_are(text: str, other: str, where: float, upto: float) -> None:
    lines, more = text.splitlines(keepends=True), other.splitlines(keepends=True)
    at, end = sorted((int(where * len(lines)), int(upto * len(lines))))
    after(text, "".join([*lines[:at], *more[:4], *lines[end:]]))
    after(text, "".join([*lines[:at], *(" " + line for line in lines[at:end]), *lines[end:]]))
    after(text, "".join([*lines[:at], *lines[end:]]))


@MANY
@given(documents.yaml(), documents.ENTRIES)
def test_an_edit_comes_out_as_when_all_is_read(text: str, entry: dict[str, Value]) -> None:
    path: Path = ("servers", "time")
    try:
        filled = edit(Yaml(), text, {path: entry})
    except EditRefused:
        return
    after(text, filled.text)
    after(filled.text, edit(Yaml(), filled.text, {path: DROP}, filled.made).text)
    after(filled.text, edit(Yaml(), filled.text, {path: ENTRY}).text)


ALONE = {
    "a new entry at the end": ("a: 1\nservers:\n  b: 2\n", "a: 1\nservers:\n  b: 2\n  c: {x: 1}\n"),
    "a new entry before others": ("a: 1\nservers:\n  b: 2\nz: 3\n", "a: 1\nservers:\n  b: 2\n  c:\n    x: 1\nz: 3\n"),
    "a new container": ("a:\n  b: 1\n", "a:\n  b: 1\nservers:\n  c: 2\n"),
    "a container that goes": ("a:\n  b: 1\nservers:\n  c: 2\n", "a:\n  b: 1\n"),
    "a value": ("a: 1\nb: {x: 1}\nc: 3\n", "a: 1\nb: {x: 2}\nc: 3\n"),
    "an element": ("l:\n- name: a\n  x: 1\n- name: c\nz: 1\n", "l:\n- name: a\n  x: 1\n- name: b\n- name: c\nz: 1\n"),
    "an element inside": ("l:\n  - name: a\n    x: 1\n  - c\n", "l:\n  - name: a\n    x: 2\n  - c\n"),
    "blank lines that a scalar keeps": ("a: |+\n  x\n\nb: 1\n", "a: |+\n  x\n\n\nb: 1\n"),
    "a comment": ("a: 1 # c\nb: 1\n", "a: 1 # d\nb: 1\n"),
}
WHOLE = {
    "an entry that reaches on": ("a: 1\nb: 2\nc: 3\n", 'a: 1\nb: "\nc: 3\n'),
    "an entry that takes the next one in": ("a:\n  x: 1\nb: 2\n", "a:\n  x: 1\n? b: 2\n"),
    "a line that the next joins": ("a: 1\nb: 2\n", "a: 1\n  b: 2\n"),
    "an entry of another list": ("k:\n- a\n- b\n", "k:\n- a\nz:\n- b\n"),
    "a second document": ("a: 1\nb: 2\n", "a: 1\n---\nb: 2\n"),
    "the end of the document": ("a: 1\nb: 2\n", "a: 1\n...\nb: 2\n"),
    "an anchor before": ("x: &x 1\na: 1\nb: 2\n", "x: &x 1\na: 2\nb: 2\n"),
    "an anchor inside": ("a: 1\nb: *x\n", "a: &x 1\nb: *x\n"),
    "a key twice": ("a: 1\nb: 2\n", "a: 1\nb: 3\nb: 2\n"),
    "a directive": ("%TAG ! tag:x,2000:\n---\na: 1\nb: 2\n", "%TAG ! tag:x,2000:\n---\na: !t 1\nb: 2\n"),
    "a tag": ("a: !t\n  b: 1\n  c: 2\n", "a: !t\n  b: 1\n  d: 1\n  c: 2\n"),
    "brackets at the top": ("{a: 1, b: 2}\n", "{a: 1, b: 3}\n"),
    "the first key": ("a: 1\nb: 2\n", "c: 1\nb: 2\n"),
    "a key in question": ("? a\n: 1\n? b\n: 2\n", "? a\n: 3\n? b\n: 2\n"),
    "a mark of byte order": ("a: 1\nb: 2\n", "a: 1\n\ufeffc: 1\nb: 2\n"),
}


@pytest.mark.parametrize("name", ALONE)
def test_these_changes_are_read_by_their_lines(name: str) -> None:
    assert after(*ALONE[name]) is not MISSING


@pytest.mark.parametrize("name", WHOLE)
def test_these_changes_are_read_whole(name: str) -> None:
    assert after(*WHOLE[name]) is MISSING


def test_all_is_read_where_the_parser_meets_other_events_than_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_window, "count_events", len)
    assert after(*ALONE["a value"]) is MISSING


SERVERS = "".join(f"  k{number}:\n    url: http://x/{number}\n    args: [a, {number}]\n" for number in range(60))
ELEMENTS = "".join(f"  - name: k{number}\n    url: http://x/{number}\n    args: [a, {number}]\n" for number in range(60))


@pytest.mark.parametrize("top", [f"servers:\n{SERVERS}", f"a: 1\nservers:\n{SERVERS}z:\n{SERVERS}", f"z:\n{SERVERS}"])
@pytest.mark.parametrize("listed", [False, True])
def test_of_a_large_text_all_is_read_once_an_edit(monkeypatch: pytest.MonkeyPatch, top: str, listed: bool) -> None:
    text = top.replace(SERVERS, ELEMENTS) if listed else top
    sizes: list[int] = []

    def counted(part: str) -> YamlDocument | None:
        sizes.append(len(part))
        return single(part)

    monkeypatch.setattr(yaml_format, "LARGE", 0)
    monkeypatch.setattr(yaml_format, "single", counted)
    paths: list[Path] = [("servers", Element("name", name) if listed else name) for name in ("time", "git")]
    done = edit(
        Yaml(), text, {path: {"name": path[-1].value, **ENTRY} if isinstance(path[-1], Element) else ENTRY for path in paths}
    )
    assert sizes == [len(text)]
    back = edit(Yaml(), done.text, {paths[-1]: DROP}, done.made)
    assert edit(Yaml(), back.text, {paths[0]: DROP}, back.made).text == text
    assert same(done.document, Yaml().parse(done.text))
