"""The report for people: the context of its tables, on the page, on the terminal, and as a file that stands alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcpwatch.web.objectives.report import span
from mcpwatch.web.page import details, views
from mcpwatch.web.page.render import page

Document = dict[str, Any]


def one_page(found: Mapping[str, Any], number: int) -> tuple[Document, int]:
    """The report with the routes of one page alone, those that miss most first, and how many pages there are."""
    missed = {one["route"]: sum(promise["met"] == "missed" for promise in one["objectives"]) for one in found["routes"]}
    ranked = sorted(found["routes"], key=lambda one: (-missed[one["route"]], one["route"]))
    pages = max(1, -(-len(ranked) // views.PER_PAGE))
    begin = (min(number, pages) - 1) * views.PER_PAGE
    return {**found, "routes": ranked[begin : begin + views.PER_PAGE]}, pages


def verdict(found: Mapping[str, Any]) -> str:
    """How all routes of a report stand, in a sentence."""
    promises = [one["met"] for route in found["routes"] for one in route["objectives"]]
    if missed := promises.count("missed"):
        return f"{missed} objective{'s are' if missed > 1 else ' is'} missed."
    return "No objective is missed." if "met" in promises else "Nothing is known yet."


def report_tables(found: Mapping[str, Any]) -> Document:
    """The context of the report's tables, from the report as JSON."""
    target = found["promised"]
    objectives = [(route["route"], details.objective_cells(route["objectives"], target)) for route in found["routes"]]
    outages = [
        {
            "route": one["route"],
            "outages": one["outages"],
            "down": _long(one["down"]),
            "announced": _long(one["announced"]),
            "unknown": _long(one["unknown"]),
            "worst": _worst(one["worst"]),
            "detect": _pair(one["detect_median"], one["detect_p95"]),
            "repair": _pair(one["repair_median"], one["repair_p95"]),
        }
        for one in found["routes"]
    ]
    return {
        "since": views.moment(found["since"]),
        "until": views.moment(found["until"]),
        "promised": details.promised(target),
        "objectives": objectives,
        "outages": outages,
        "met": found["met"],
        "verdict": verdict(found),
    }


def _long(seconds: float) -> str:
    return span(seconds) if seconds else "–"


def _pair(median: float | None, most: float | None) -> str:
    return "–" if median is None else f"{span(median)}, {span(most)}"


def _worst(one: Document | None) -> str:
    if one is None:
        return "–"
    cause = f", {one['cause']}" if one["cause"] else ""
    return f"{views.moment(one['begin'])}, {span(one['end'] - one['begin'])}{cause}"


def report_html(found: Mapping[str, Any]) -> str:
    """The report as a file that stands alone."""
    return page("report.html", **report_tables(found))
