from __future__ import annotations

from mcpwatch.telemetry.families import FAMILIES
from tests.parts import ROOT
from tools import docs_telemetry


def test_the_page_of_metrics_is_the_one_the_code_makes() -> None:
    for name, text in docs_telemetry.pages().items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, "run: make docs"
        assert all(f"`{family.name}`" in text for family in FAMILIES)
