"""Durations, sizes, addresses, URLs and variables, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.foreign.variables import Expansion, expand, read_env, secret_name
from mcpwatch.units import listen, seconds, size, spell_seconds, spell_size, url


@pytest.mark.parametrize(
    ("text", "value"),
    [("30s", 30), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400), ("2d", 172800), ("1w", 604800), ("7", 7), (3, 3), (0.5, 0.5)],
)
def test_a_duration_is_read(text: object, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 s", "1h-2m", "5x", True, None, "1e3", "30 seconds"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


@given(st.integers(min_value=1, max_value=10**9))
def test_a_duration_survives_being_spelled(milliseconds: int) -> None:
    assert seconds(spell_seconds(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "value"), [("256m", 2**28), ("1g", 2**30), ("1.5K", 1536), ("64kb", 65536), ("1MiB", 2**20), (9, 9)]
)
def test_a_size_is_read(text: object, value: int) -> None:
    assert size(text) == value


@given(st.integers(min_value=1, max_value=2**50))
def test_a_size_survives_being_spelled(value: int) -> None:
    assert size(spell_size(value)) == value


@pytest.mark.parametrize("text", ["", "lots", "-1m", "1x", True, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        (":80", "0.0.0.0:80"),
        (9090, "127.0.0.1:9090"),
        ("[::1]:5", "[::1]:5"),
        ("h-1.lan:5", "h-1.lan:5"),
    ],
)
def test_an_address_to_listen_on_is_read(text: object, address: str) -> None:
    assert listen(text) == address


@pytest.mark.parametrize("text", ["", "host", "1.2.3.4:", "1.2.3.4:99999", "::1:80", "http://h:1", "a b:1", True])
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        listen(text)


@pytest.mark.parametrize("text", ["", "h:1", "ftp://h", "http://", "http://h:0/", "http://h:99999/", "http://h/a b", "//h/x"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        url(text)


@given(st.text())
def test_a_text_without_a_dollar_is_left_alone(text: str) -> None:
    plain = text.replace("$", "")
    into = Expansion()
    assert expand({"k": [plain]}, {}, into) == {"k": [plain]}
    assert into.faults == []


@given(st.text())
def test_any_text_can_be_written_with_doubled_dollars(text: str) -> None:
    into = Expansion()
    assert expand(text.replace("$", "$$"), {}, into) == text
    assert into.faults == []


def test_a_variable_is_no_template_for_another() -> None:
    assert expand("${A}", {"A": "${B}", "B": "no"}, Expansion()) == "${B}"


def test_keys_are_never_expanded() -> None:
    assert expand({"${A}": "${A}"}, {"A": "x"}, Expansion()) == {"${A}": "x"}


def test_an_empty_variable_takes_its_default_and_without_one_is_empty() -> None:
    assert expand(["${A:-d}", "${A}", "${B:-}"], {"A": ""}, Expansion()) == ["d", "", ""]


@pytest.mark.parametrize(
    "name", ["MCP_PROXY_TOKEN", "X-Api-Key", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "Authorization", "GH_PAT", "DB_DSN"]
)
def test_a_telling_name_is_a_secret(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize("name", ["PATH", "LANG", "KEYBOARD", "MONKEY", "PATTERN", "AUTHOR"])
def test_an_innocent_name_is_none(name: str) -> None:
    assert not secret_name(name)


def test_an_env_file_is_read_as_shells_write_it() -> None:
    text = '\ufeff# c\n\nexport A=1\nB = two words \nC=\'$x #y\'\nD="a\\nb\\"c\\\\"\nE=x # note\nF=x#y\nG=\n'
    values, wrong = read_env(text)
    assert values == {"A": "1", "B": "two words", "C": "$x #y", "D": 'a\nb"c\\', "E": "x", "F": "x#y", "G": ""}
    assert wrong == []
