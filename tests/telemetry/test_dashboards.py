from __future__ import annotations

import json
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.telemetry import families as of
from tests.parts import PARTS, program

OUT = Path(of.__file__).parent / "dashboards"
FILES = ("fleet.json", "member.json", "mcpwatch.json")
RECORDED = re.compile(r"mcpwatch:[a-z0-9_:]+")
NAME = re.compile(r"\b(?:mcpwatch|mcp_client|process|python)_[a-z0-9_]+")


def queries(name: str) -> list[str]:
    """Every PromQL query of a committed dashboard: panels, annotations, variables."""
    document = json.loads((OUT / name).read_text(encoding="utf-8"))
    panels: list[dict[str, Any]] = [inner for panel in document["panels"] for inner in (panel, *panel.get("panels", ()))]
    found = [t["expr"] for panel in panels for t in panel.get("targets", ()) if t["datasource"]["type"] == "prometheus"]
    found += [annotation["expr"] for annotation in document["annotations"].get("list", ()) if "expr" in annotation]
    return found


def test_the_committed_dashboards_are_those_the_builder_makes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the library would rather have its v2, which Grafana 11 cannot read
        from tools import dashboards
    assert dashboards.OUT == OUT, "dashboards ship inside the package"
    made = dashboards.build()
    assert sorted(made) == sorted(FILES)
    for name, text in made.items():
        assert (OUT / name).read_text(encoding="utf-8") == text, "run: python -m tools.dashboards"


@pytest.mark.parametrize("name", FILES)
def test_a_dashboard_asks_only_for_metrics_that_exist_and_pins_no_data_source(name: str) -> None:
    text = (OUT / name).read_text(encoding="utf-8")
    assert set(re.findall(r'"uid": "([^"]*)"', text)) <= {"${ds_prom}", "${ds_loki}", json.loads(text)["uid"], "-- Grafana --"}
    known = {family.name for family in of.FAMILIES} | {
        f"{family.name}_bucket" for family in of.FAMILIES if family.kind == "histogram"
    }
    for query in queries(name):
        asked = {word for word in NAME.findall(RECORDED.sub("", query)) if not word.startswith(("process_", "python_"))}
        assert asked <= known, query


@pytest.mark.parametrize("name", FILES)
def test_every_panel_says_what_it_shows_and_panels_do_not_overlap(name: str) -> None:
    document = json.loads((OUT / name).read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        assert panel["title"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_page_of_one_member_asks_for_exactly_that_member() -> None:
    text = (OUT / "member.json").read_text(encoding="utf-8")
    assert "member=~" not in text, "a name is no pattern: 'a.b' would show 'a-b' too"
    assert 'member=\\"$member\\"' in text


def log_queries() -> list[str]:
    """Every LogQL query of the committed dashboards, as Grafana sends it: its own words for times filled in."""
    found: list[str] = []
    for name in FILES:
        document = json.loads((OUT / name).read_text(encoding="utf-8"))
        panels = [inner for panel in document["panels"] for inner in (panel, *panel.get("panels", ()))]
        found += [t["expr"] for panel in panels for t in panel.get("targets", ()) if t["datasource"]["type"] == "loki"]
    return [re.sub(r"\$__\w+", "5m", query) for query in found]


def unreadable(queries: list[str]) -> list[list[str]]:
    """Where Grafana's grammar cannot read each query; an empty list where it can."""
    script = Path(__file__).parent / "logql.cjs"
    done = subprocess.run(
        [program("node"), script, PARTS / "logql"],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.needs("logql")
def test_grafana_s_own_grammar_reads_every_log_query() -> None:
    asked = log_queries()
    assert len(asked) >= len(FILES)
    assert [fault for query, faults in zip(asked, unreadable(asked), strict=True) for fault in (query, *faults) if faults] == []
    broken = ['{app="mcpwatch"', "{app=mcpwatch}", '{app="mcpwatch"} | level!=']
    assert all(unreadable(broken)), "it finds what is wrong"
