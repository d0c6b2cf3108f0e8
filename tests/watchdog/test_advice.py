"""Every cause that no repair answers says what a person can do, and none in the words of the code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mcpwatch.checks.symptoms import MEANINGS
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.watchdog.advice import ADVICE, REPAIRED, advice
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import Finding
from tests.watchdog.scenes import FETCH, PROXY, TIME, bad, scene


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


@pytest.mark.parametrize("symptom", Symptom)
def test_what_a_symptom_says_to_do_is_no_restart_where_the_diagnosis_restarts_nothing(symptom: Symptom) -> None:
    seen = replace(bad(symptom, Stage.TOOLS_LIST), succeeded=True)
    found = [*diagnose(scene(replace(FETCH, direct=seen, through=seen), TIME, PROXY)).found]
    words = MEANINGS[symptom].repair
    assert not re.match(r"(re)?start|recreate|recycle", words, re.IGNORECASE), "evidence comes first"
    if not any(one.rung in ("restart", "restart_proxy") for one in found):
        advised = re.findall(r"[^.;:]*\brestart[^.;:]*", words)
        but = re.compile(r"cannot help|no faster|changes nothing|once the member answers|helps where")
        assert all(but.search(one) for one in advised), advised
