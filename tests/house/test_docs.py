"""What is made from code is fresh, what the documentation names exists, and the first page stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.docs import GENERATORS, ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])


@pytest.mark.parametrize("number", range(len(GENERATORS)))
def test_every_page_made_from_code_is_as_the_code_says(number: int) -> None:
    for name, text in GENERATORS[number]().items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name} is stale: run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_documentation_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in links if not (page.parent / link.split("#")[0]).exists()]
    assert missing == []


def test_the_first_page_is_short_and_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "make up" in text
    assert "make test" in text


def test_no_lock_and_no_page_names_an_address_of_a_registry() -> None:
    for path in [*ROOT.glob("*.lock"), *(ROOT / ".ci").rglob("*lock*")]:
        if path.is_file() and "node_modules" not in path.parts:
            assert "resolved" not in path.read_text(encoding="utf-8"), path
            assert not re.search(r"https?://[^\s\"]*(pypi|npmjs|pythonhosted)", path.read_text(encoding="utf-8")), path


def test_every_example_is_named_in_the_documentation() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    examples = (ROOT / "examples").rglob("*.yaml")
    missing = [str(path.relative_to(ROOT)) for path in examples if path.name not in text]
    assert missing == []
