"""The list of symptoms is closed, explained and documented; a result is told in lines that help."""

from __future__ import annotations

from pathlib import Path

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


def test_the_page_of_symptoms_is_made_of_the_code_and_every_anchor_leads_to_a_heading_of_it() -> None:
    assert (ROOT / PAGE).read_text() == page(), "stale: run python -m tools.docs_symptoms"
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


def test_every_result_can_be_told() -> None:
    for outcome in Outcome:
        for symptom in (None, *Symptom):
            told = lines(ProbeResult(outcome, symptom, Stage.CLOSE if symptom else None, "why"))
            assert all(line == line.rstrip() and "\n" not in line for line in told), symptom


def test_everything_a_failure_tells_has_a_line_of_its_own() -> None:
    result = ProbeResult(
        Outcome.FAILURE,
        Symptom.ERA_MISMATCH,
        Stage.INITIALIZE,
        "no answer: busy",
        said="busy",
        timings=(StageTiming(Stage.OPEN, 2.0), StageTiming(Stage.TOOLS_LIST, 0.001)),
        server=ServerInfo(protocol="2025-11-25", wire="http"),
        tools=(),
        lint=("tool 'a': no schema",),
        remarks=("slow: it took 3 s",),
        tls_version="TLSv1.3",
        certificate_days=3.2,
        versions=("2024-11-05", "2025-03-26"),
        retry_after=0.0,
        lists_from_cache="it is called so",
    )
    assert lines(result, "time")[:-3] == (
        "time FAILED in 0 µs",
        "  ✓ open           2.00 s",
        "  ✓ tools_list     1.0 ms",
        "  x initialize",
        "  server   (unnamed), protocol 2025-11-25, wire http",
        "  tools    0",
        "  cache    it lists from a cache: it is called so",
        "  tls      TLSv1.3, certificate valid for 3 more days",
        "  lint     tool 'a': no schema",
        "  symptom  era_mismatch: no answer: busy",
        "  also     slow: it took 3 s",
        "  knows    protocol 2024-11-05, 2025-03-26",
        "  wait     it wants to be asked again in 0 s",
    )


def test_only_the_stage_that_failed_is_crossed_and_a_stage_that_is_degraded_is_not() -> None:
    timings = (StageTiming(Stage.OPEN, 0.1), StageTiming(Stage.TOOLS_LIST, 0.1))
    failed = lines(ProbeResult(Outcome.FAILURE, Symptom.CUT, Stage.OPEN, "why", timings=timings))
    degraded = lines(ProbeResult(Outcome.DEGRADED, Symptom.SLOW, Stage.OPEN, "why", timings=timings))
    assert [line[2] for line in failed[1:3]] == ["x", "✓"]
    assert [line[2] for line in degraded[1:3]] == ["✓", "✓"]
    assert not [line for line in degraded if line.startswith("  x")]


def test_a_result_without_findings_is_one_line_and_an_unknown_one_says_why() -> None:
    assert lines(ProbeResult(Outcome.SUCCESS, server=ServerInfo("early"))) == ("ok in 0 µs",)
    assert lines(ProbeResult(Outcome.UNKNOWN, message="the prober is closed")) == ("unknown in 0 µs", "  the prober is closed")
    assert lines(ProbeResult(Outcome.SUCCESS, tls_version="TLSv1.2"))[1:] == ("  tls      TLSv1.2",)


def test_durations_are_told_in_the_unit_that_fits() -> None:
    told = {0.0000004: "0 µs", 0.00034: "340 µs", 0.001: "1.0 ms", 0.0012: "1.2 ms", 1: "1.00 s", 1.5: "1.50 s", 3.409: "3.41 s"}
    assert [duration(value) for value in told] == list(told.values())
