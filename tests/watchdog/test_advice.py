"""Every cause that no repair answers says what a person can do, and none in the words of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcpwatch.watchdog.advice import ADVICE, REPAIRED, advice
from mcpwatch.watchdog.finding import Finding


def causes() -> set[str]:
    """What the diagnosis can name, as its source says."""
    texts = [path.read_text(encoding="utf-8") for path in Path("mcpwatch/watchdog").glob("diagnose*.py")]
    found = re.findall(
        r'_(?:finding|whole)\([\w., ]*?"([a-z_]+)"|cause="([a-z_]+)"|^    \(?"([a-z_]+)",', "\n".join(texts), re.MULTILINE
    )
    return {word for words in found for word in words if word}


def test_every_cause_has_words_or_a_repair() -> None:
    assert {"member_down", "auth", "engine_gone"} <= causes()
    assert causes() <= {*ADVICE, *REPAIRED}
    assert not REPAIRED & ADVICE.keys()


@pytest.mark.parametrize("cause", sorted({*ADVICE, *REPAIRED}))
def test_advice_names_who_acts_and_no_identifier(cause: str) -> None:
    words = advice(Finding(cause, "git", "", "member:git", look_at="the log of 'git'"))
    assert words.startswith(("left to a person", "left to its restart policy", "nothing"))
    assert "_" not in words
    assert "{" not in words
