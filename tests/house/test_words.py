"""The pages for people are in plain technical English: the words that make a sentence a riddle are not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
TO_READ = sorted(str(page.relative_to(ROOT)) for page in PAGES if page.parent.name != "adr")
RIDDLES = re.compile(r"\b(nobody|whoever|whom|whomever)\b", re.IGNORECASE)
"""Name the subject or the object instead: the receiver, the client, the operator, no process."""
GLOSSARY = ROOT / "docs" / "explanation" / "glossary.md"


@pytest.mark.parametrize("name", TO_READ)
def test_a_page_names_its_subjects(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if RIDDLES.search(line)] == []


def test_the_glossary_has_twenty_entries_at_most() -> None:
    rows = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert 1 < len(rows) <= 21
