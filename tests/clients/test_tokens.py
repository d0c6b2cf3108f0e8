"""Tokens are compared as text, known after they are gone, and never kept."""

from __future__ import annotations

import pytest

from mcpwatch.clients.tokens import KEPT, Tokens, digest, dumps, holds, loads, masked

DEAD, ALIVE = "dead-token-1234567890", 'al\\ive"token'
TOKENS = Tokens(frozenset({digest(DEAD)}), frozenset({digest(ALIVE)}), ALIVE)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"headers": {{"Authorization": "Bearer {DEAD}"}}}}',
        f"API_ACCESS_TOKEN={DEAD}",
        f"env: {{TOKEN: {DEAD}}}",
        f"Authorization:{DEAD}\n",
        f"- '{DEAD}'",
    ],
)
def test_a_dead_token_is_found_wherever_it_stands(text: str) -> None:
    assert TOKENS.holds_dead(text)
    assert not TOKENS.holds_dead(text.replace(DEAD, "another-token-12345"))


def test_a_token_with_a_backslash_and_a_quote_is_seen_in_values_and_masked_in_text() -> None:
    entry = {"headers": {"Authorization": f"Bearer {ALIVE}"}, "args": ["x"]}
    assert holds([entry], ALIVE)
    assert not holds([entry], "other")
    assert not holds([entry], "")
    assert masked('"Bearer al\\\\ive\\"token", al\\ive"token, é', [ALIVE, ""], "***") == '"Bearer ***", ***, é'


def test_only_dead_tokens_are_renewed() -> None:
    value = {"a": f"Bearer {DEAD}", "b": [DEAD, ALIVE, 3], "c": {"d": None}}
    assert TOKENS.renewed(value, "new") == {"a": "Bearer new", "b": ["new", ALIVE, 3], "c": {"d": None}}


def test_what_is_kept_of_tokens_is_bounded_and_holds_none() -> None:
    marks = [digest(str(number)) for number in range(200)]
    assert loads(dumps(marks)) == tuple(marks[-KEPT:])
    assert loads("junk") == loads(None) == loads('{"a": 1}') == ()
    assert DEAD not in dumps([digest(DEAD)])
    assert ALIVE not in repr(TOKENS)
