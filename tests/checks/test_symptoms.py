"""The list of symptoms is closed, explained and documented; a result is told in lines that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.checks.render import duration, lines
from mcpwatch.checks.symptoms import MEANINGS, PAGE, anchor
from mcpwatch.model.probe import Outcome, ProbeResult, ServerInfo, Stage, StageTiming, Symptom, Tool
from tests.parts import ROOT
from tools.docs_symptoms import page

VISIBLE_ROWS = set(range(1, 33))


def test_every_symptom_has_a_meaning_and_a_repair() -> None:
    assert set(MEANINGS) == set(Symptom)
    for meaning in MEANINGS.values():
        assert meaning.seen.endswith(".")
        assert meaning.means.endswith(".")
        assert meaning.repair


def test_every_row_of_the_failure_catalogue_is_visible_in_some_symptom() -> None:
    covered = {row for meaning in MEANINGS.values() for row in meaning.rows}
    assert covered == VISIBLE_ROWS


def test_the_page_of_symptoms_is_made_of_the_code() -> None:
    assert (ROOT / PAGE).read_text() == page(), "stale: run python -m tools.docs_symptoms"


def test_every_anchor_leads_to_a_heading_of_the_page() -> None:
    headings = {line.removeprefix("## ") for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("## ")}
    assert {anchor(symptom).partition("#")[2] for symptom in Symptom} == headings
    assert Path(PAGE).suffix == ".md"


def test_a_good_result_is_told_with_its_stages_and_what_answered() -> None:
    result = ProbeResult(
        Outcome.SUCCESS,
        seconds=0.0123,
        timings=(StageTiming(Stage.CONNECT, 0.0003), StageTiming(Stage.TOOLS_LIST, 0.012)),
        server=ServerInfo("time", "1.2", "2025-11-25", "sse", ("tools",)),
        tools=(Tool("now", "ab"),),
        tokens=120,
        certificate_days=89.6,
    )
    assert lines(result, "time") == (
        "time ok in 12.3 ms",
        "  ✓ connect        300 µs",
        "  ✓ tools_list    12.0 ms",
        "  server   time 1.2, protocol 2025-11-25, wire sse",
        "  tools    1, about 120 tokens",
        "  tls      certificate valid for 90 more days",
    )


def test_a_bad_result_is_told_with_its_symptom_and_what_to_do() -> None:
    result = ProbeResult(
        Outcome.FAILURE,
        Symptom.TIMEOUT,
        Stage.TOOLS_LIST,
        "no answer",
        said="busy",
        seconds=2.5,
        timings=(StageTiming(Stage.TOOLS_LIST, 2.4),),
    )
    told = lines(result)
    assert told[:2] == ("FAILED in 2.50 s", "  x tools_list     2.40 s")
    assert "  symptom  timeout@tools_list: no answer" in told
    assert "  it said  busy" in told
    assert told[-1] == "  more     docs/reference/symptoms.md#timeout"


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("symptom", [None, *Symptom])
def test_every_result_can_be_told(outcome: Outcome, symptom: Symptom | None) -> None:
    told = lines(ProbeResult(outcome, symptom, Stage.CLOSE if symptom else None, "why"))
    assert all(line == line.rstrip() and "\n" not in line for line in told)


def test_durations_are_told_in_the_unit_that_fits() -> None:
    assert [duration(value) for value in (0.0000004, 0.00034, 0.0012, 3.409)] == ["0 µs", "340 µs", "1.2 ms", "3.41 s"]
