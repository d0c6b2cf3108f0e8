"""What the pages say, made of data: the summary, lines of events, budgets."""

from __future__ import annotations

from typing import Any

from mcpwatch.model.time import WallTime, iso
from mcpwatch.web.page.details import budget, client_row, event_rows, incidents, listed, waterfall
from mcpwatch.web.page.report_view import one_page, verdict
from mcpwatch.web.page.summary import CAUSES, sentence, summary
from mcpwatch.web.page.views import milliseconds, size

NOW = 1_795_000_000.0


def fact(name: str, ago: float, **more: Any) -> dict[str, Any]:
    return {"fact": name, "time": iso(WallTime(NOW - ago)), "at": NOW - ago, "text": name, "level": "info", **more}


def failed(ago: float, symptom: str = "refused", vantage: str = "direct") -> dict[str, Any]:
    known = {"member": "git", "check": "mcp", "vantage": vantage, "route": None, "result": {"symptom": symptom}}
    return fact("probe_finished", ago, **known)


def test_the_same_failure_again_and_again_is_one_line_that_says_how_often() -> None:
    both = [failed(ago, vantage=vantage) for ago in range(0, 600, 5) for vantage in ("direct", "route")]
    rows = event_rows([*both, fact("member_exited", 600), failed(601), failed(602, "timeout")], NOW)
    assert [(row["text"], row["times"]) for row in rows] == [
        ("probe_finished", 120), ("probe_finished", 120), ("member_exited", 1), ("probe_finished", 1), ("probe_finished", 1),
    ]  # fmt: skip
    assert rows[0]["since"] == iso(WallTime(NOW - 595))[11:16]


def test_lines_of_another_day_begin_with_their_day_once() -> None:
    rows = event_rows([fact("a", 0), fact("b", 1), fact("c", 86_400), fact("d", 86_401)], NOW)
    assert [row["day"] for row in rows] == ["", "", iso(WallTime(NOW - 86_400))[:10], ""]
    assert len(event_rows([fact("a", ago) for ago in range(100)], NOW)) == 30


def status(*diagnoses: str) -> dict[str, Any]:
    routes = [{"name": name, "verdict": "unhealthy" if name in diagnoses else "healthy"} for name in ("one", "two", "three")]
    members = [{"name": name, "want": "up", "phase": "running"} for name in ("one", "two", "three")]
    causes = [{"subject": name, "text": f"{name} hangs.", "rung": "restart", "next": "restart the member"} for name in diagnoses]
    return {"routes": routes, "members": members, "diagnoses": causes}


def test_the_summary_names_whom_each_cause_is_about_and_counts_the_rest() -> None:
    found = summary(status("one", "two"))
    assert found["headline"] == "2 of 3 routes are down: one, two."
    assert found["causes"][1] == {"subject": "two", "text": "two hangs", "next": "restart the member"}
    assert sentence(status("one", "two")).endswith("one: one hangs. Next: restart the member. 1 more.")
    many = status("one") | {"diagnoses": status("one")["diagnoses"] * (CAUSES + 2)}
    assert (len(summary(many)["causes"]), summary(many)["more"]) == (CAUSES, 2)
    assert summary(status())["headline"] == "All 3 routes work."
    assert summary({"routes": [], "members": [], "diagnoses": []})["headline"] == "The fleet has no members yet."


def test_entries_of_a_client_that_differ_in_the_same_way_are_told_together() -> None:
    drift = [{"entry": name, "text": "was taken out by hand"} for name in ("time", "git")]
    row = client_row({"client": "vscode", "title": "VS Code", "path": "/x", "in_sync": False, "drift": drift,
                      "last_write": "2026-11-29T15:38:39.086Z"})  # fmt: skip
    assert (row["drift"], row["sync"], row["written"]) == ("time, git: was taken out by hand", "no", "2026-11-29 15:38:39")
    never = client_row({"client": "vscode", "title": "VS Code", "path": "/x", "in_sync": None})
    assert (never["drift"], never["sync"], never["written"]) == ("none", "not looked yet", "never")


def test_figures_are_short_and_never_flatter() -> None:
    assert [milliseconds(value) for value in (None, 0.0042, 0.25, 4.2, 130.0)] == ["–", "4.2 ms", "250 ms", "4.2 s", "130 s"]
    assert [size(value) for value in (0, 5000, 5 << 20, 11 << 30)] == ["–", "5 KiB", "5 MiB", "11.0 GiB"]
    assert [budget(value) for value in (None, 80.0, -316.67)] == ["", "80 % of the budget left", "4.17 × the budget used"]


def test_a_waterfall_marks_where_a_probe_failed() -> None:
    route = {"latency": {"connect": 0.3, "open": 0.1}, "verdict": "unhealthy", "symptom": "refused"}
    assert [(row["x"], row["w"], row["failed"]) for row in waterfall(route)] == [(0.0, 75.0, False), (75.0, 25.0, True)]
    assert [row["failed"] for row in waterfall(route | {"verdict": "healthy", "symptom": ""})] == [False, False]


def test_incidents_are_paired_from_changes_and_one_that_goes_on_says_so() -> None:
    def change(ago: float, route: str, new: str) -> dict[str, Any]:
        return fact("route_changed", ago, route=route, old="", new=new, reason=f"{route} is {new}")

    told = ((30, "git", "unhealthy"), (100, "time", "healthy"), (400, "git", "degraded"), (500, "time", "unhealthy"))
    newest_first = [change(*one) for one in (*told, (1000, "git", "unhealthy"))]
    rows = incidents(newest_first, NOW, {"git"})
    assert [(row["route"], row["lasts"], row["open"]) for row in rows] == [
        ("git", "30s", True), ("time", "6m40s", False), ("git", "10m00s", False),
    ]  # fmt: skip
    assert rows[0]["why"] == "git is unhealthy"
    assert len(incidents(newest_first * 40, NOW, {"git"})) == 30
    removed = incidents(newest_first, NOW, set())[0]
    assert (removed["lasts"], removed["open"]) == ("end unknown", False), "a route that is not there any more is not down until now"


def test_each_tool_says_what_it_weighs() -> None:
    tool = {"name": "now", "description": "tells the time", "inputSchema": {"type": "object"}}
    (kind, rows), *_ = listed({"tools": [tool], "prompts": [], "resources": [{"uri": "a://b"}]})
    # {"description":"tells the time","inputSchema":{"type":"object"},"name":"now"}: 77 characters, 4 a token
    assert (kind, rows[0]["tokens"]) == ("tool", 19)


def test_objectives_of_a_large_fleet_come_in_pages_those_that_miss_most_first() -> None:
    def route(number: int, *met: str) -> dict[str, Any]:
        return {"route": f"r{number:03}", "objectives": [{"met": one} for one in met]}

    report = {
        "routes": [route(n, "met", "missed" if n in (7, 204) else "unknown", "missed" if n == 204 else "met") for n in range(230)]
    }
    first, pages = one_page(report, 1)
    assert [one["route"] for one in first["routes"][:3]] == ["r204", "r007", "r000"]
    assert (len(first["routes"]), pages, len(one_page(report, 3)[0]["routes"]), len(one_page(report, 9)[0]["routes"])) == (
        100,
        3,
        30,
        30,
    )
    assert verdict(report) == "3 objectives are missed."
    assert verdict({"routes": [route(1, "unknown")]}) == "Nothing is known yet."
    assert verdict({"routes": [route(1, "unknown", "met")]}) == "No objective is missed."
    assert one_page({"routes": []}, 1) == ({"routes": []}, 1)
