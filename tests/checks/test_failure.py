"""What is shown of what servers say: one line, bounded, without secrets."""

from __future__ import annotations

import pytest

from mcpwatch.checks import failure
from mcpwatch.checks.failure import ProbeFailure, one_line, redact, without_query
from mcpwatch.model.probe import Symptom


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  two\t\nlines \r\n", "two lines"),
        ("a\x1b[1b\x00c\u202ed\u200be", "a [1b c d…"),
        ("0123456789", "0123456789"),
        ("01234567890", "012345678…"),
        (b"caf\xc3\xa9\xff", "café\ufffd"),
        (" " * 39 + "x", "x"),
        (" " * 40 + "x", ""),
        (b" " * 39 + b"x", "x"),
        (b" " * 40 + b"x", ""),
    ],
)
def test_a_text_is_shown_as_one_line_within_its_limit(text: str | bytes, shown: str) -> None:
    assert one_line(text, 10) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:80/a/b?key=s", "http://h:80/a/b"),
        ("https://me:p@ss@h/a?x=http://y", "https://h/a"),
        ("http://h?key=s", "http://h"),
        ("/a/b?key=s", "/a/b"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_query_and_its_user(url: str, shown: str) -> None:
    assert without_query(url) == shown


def test_secrets_are_replaced_wherever_they_stand() -> None:
    assert redact("a secret, a key, a secret", ("secret", "key")) == "a ***, a ***, a ***"
    assert redact("plain", ("", "x")) == "plain"


def test_what_is_shown_is_as_long_as_the_reports_have_room_for() -> None:
    assert (failure.SAID_LIMIT, failure.MESSAGE_LIMIT, failure.TEXT_MAX, failure.REASON_MAX) == (400, 300, 200, 160)
    assert (failure.PLACE_MAX, failure.NAME_MAX, failure.WORD_MAX) == (100, 60, 40)


def test_a_failure_that_escapes_says_what_it_is() -> None:
    assert str(ProbeFailure(Symptom.CUT, "the connection was closed")) == "the connection was closed"
