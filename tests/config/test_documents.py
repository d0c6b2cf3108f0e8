"""Reading text: the same values as the standard readers, every duplicate found, every line known, nothing ever crashes."""

from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.config import yaml
from mcpwatch.foreign import json_text as json
from mcpwatch.foreign.document import spell
from mcpwatch.model.errors import ConfigError, Fault

PRINTED = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")))


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any document, its texts from here."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


@given(values(st.text()), st.sampled_from([None, 1, "\t"]))
def test_json_is_read_as_the_standard_reader_reads_it(value: Any, indent: int | str | None) -> None:
    text = standard.dumps(value, indent=indent)
    assert json.read(text, "f").data == standard.loads(text)


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\t\\u') | st.text())
def test_whatever_the_text_json_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        found = json.read(text, "f")
    except ConfigError as error:
        (fault,) = error.faults
        assert fault.line is not None
        assert 1 <= fault.line <= text.count("\n") + 1
        with pytest.raises(standard.JSONDecodeError):
            standard.loads(text.removeprefix("\ufeff"))
    else:
        if not found.faults:
            assert found.data == standard.loads(text)


@given(values(PRINTED))
def test_yaml_reads_back_what_it_wrote(value: Any) -> None:
    assert yaml.read(yaml.dump({"k": value}), "f").data == {"k": value}


@given(st.text(alphabet="abc:-{}[]#&*!|>'\"%@`?, \n<") | st.text())
def test_whatever_the_text_yaml_is_read_or_refused_in_one_line(text: str) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        faults = yaml.read(text, "f").faults
    except ConfigError as error:
        faults = error.faults
    assert all("\n" not in str(fault) for fault in faults)


def test_each_value_of_yaml_knows_its_line() -> None:
    found = yaml.read("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "f")
    assert {spell(path): line for path, line in found.lines.items() if path} == {
        "a": 1,
        "a.b": 2,
        "a.c": 3,
        "a.c[0]": 4,
        "a.c[1]": 5,
        "a.c[1].y": 5,
    }
    assert found.line(("a", "c", 7, "nothing")) == 3


def test_each_value_of_json_knows_its_line() -> None:
    found = json.read('{\n "a": {\n  "b": 1,\n  "c": [\n   2]\n }\n}', "f")
    assert {spell(path): line for path, line in found.lines.items() if path} == {"a": 2, "a.b": 3, "a.c": 4, "a.c[0]": 5}


def test_every_duplicate_is_found_in_both() -> None:
    for found in (yaml.read("{a: 1, a: 2, b: {c: 1, c: 2}, a: 3}", "f"), json.read('{"a":1,"a":2,"b":{"c":1,"c":2},"a":3}', "f")):
        assert sorted(fault.path for fault in found.faults) == ["a", "a", "b.c"]
        assert found.data == {"a": 1, "b": {"c": 1}}


def test_words_that_old_yaml_took_for_booleans_stay_words() -> None:
    assert yaml.read("[on, off, yes, no, 12:30, 0o17, 2026-11-21]", "f").data == [
        "on",
        "off",
        "yes",
        "no",
        "12:30",
        15,
        "2026-11-21",
    ]


def test_of_merged_mappings_the_first_wins_and_what_is_written_wins_over_all() -> None:
    found = yaml.read("a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], y: 3}\nd: {<<: *a, <<: *b, y: 3}\n", "f").data
    assert isinstance(found, dict)
    assert found["c"] == found["d"] == {"x": 1, "z": 2, "y": 3}


def test_a_tag_of_a_stranger_makes_no_object() -> None:
    assert yaml.read("a: !!python/object/apply:os.system [id]\nb: !x y", "f").data == {"a": ["id"], "b": "y"}


def test_a_number_too_long_to_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="number"):
        json.read("1" * 5000, "f")
    assert [str(fault) for fault in yaml.read("a: " + "1" * 5000, "f").faults]


def test_deep_nesting_is_refused_and_does_not_overflow() -> None:
    with pytest.raises(ConfigError, match="nested deeper"):
        json.read("[" * 100_000, "f")
    with pytest.raises(ConfigError, match="nested deeper"):
        yaml.read("[" * 400 + "]" * 400, "f")
    with pytest.raises(ConfigError, match="nested deeper"):
        yaml.read("[" * 150 + "]" * 150, "f")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a\n", " a\n b\n", "\n a\n", "a  \nb\n", "a\tb\n", "\u00e9\u2603\n", "a\r\nb\n", "\x85a\n", "a\x7fb\n", "\x07"],
)
def test_a_block_of_lines_is_the_text_it_was_made_of(text: str) -> None:
    written = yaml.dump({"k": {"f": yaml.block(text)}})
    assert yaml.read(written, "f").data == {"k": {"f": text}}
    assert ("f: |" in written) is (text.replace("\t", "").replace("\n", "").isprintable())
