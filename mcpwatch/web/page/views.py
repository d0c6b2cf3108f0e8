"""What the pages show, made from the documents of the API: pure, plain values, the words of the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from mcpwatch.model.json import plain
from mcpwatch.model.time import WallTime, iso
from mcpwatch.model.view import FleetView
from mcpwatch.web.objectives.report import percent, span
from mcpwatch.web.page.summary import CAUSES

Document = dict[str, Any]

PER_PAGE = 100
"""Rows of one table on one page."""
LIVE_ROWS = 100
"""Rows in one message to open pages; what is more follows in the next ones."""
BAR_HEIGHT = 14
MARKS = {"healthy": "✓", "degraded": "!", "unhealthy": "✗", "unknown": "?"}
SORTS = ("health", "name", "availability", "latency")
_RANK = {"unhealthy": 0, "degraded": 1, "unknown": 2, "healthy": 3}


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """What the address of a fleet page asks for: a word searched in names, one health, an order, a page."""

    q: str = ""
    health: str = ""
    sort: str = "health"
    page: int = 1

    @staticmethod
    def of(query: Mapping[str, str]) -> FleetQuery:
        """From a query; what is not understood is left out."""
        health, sort, page = query.get("health", ""), query.get("sort", "health"), query.get("page", "1")
        return FleetQuery(
            query.get("q", "")[:100],
            health if health in MARKS else "",
            sort if sort in SORTS else "health",
            int(page) if page.isdecimal() and len(page) < 6 else 1,
        )

    def link(self, page: int) -> str:
        """The address of another page of the same view."""
        return self._address(self.sort, str(page))

    def sorted(self, sort: str) -> str:
        """The address of the same routes in another order."""
        return self._address(sort, "")

    def _address(self, sort: str, page: str) -> str:
        pairs = {"q": self.q, "health": self.health, "sort": sort if sort != "health" else "", "page": page}
        return "?" + urlencode({key: value for key, value in pairs.items() if value})


def counts(status: Document) -> dict[str, int]:
    """Routes by health."""
    found = dict.fromkeys(MARKS, 0)
    for route in status["routes"]:
        found[route["verdict"]] += 1
    return found


def chosen(rows: Iterable[Document], asked: FleetQuery) -> tuple[list[Document], int, int]:
    """The rows of one page, how many there are in all, and how many pages."""
    word = asked.q.lower()
    found = [row for row in rows if word in row["name"].lower() and (not asked.health or row["verdict"] == asked.health)]
    orders: dict[str, Callable[[Document], Any]] = {
        "health": lambda row: (_RANK.get(row["verdict"], 2), row["name"]),
        "name": lambda row: (0, row["name"]),
        "availability": lambda row: (row.get("a30") if row.get("a30") is not None else 101.0, row["name"]),
        "latency": lambda row: (-(row.get("p95s") or 0.0), row["name"]),
    }
    found.sort(key=orders[asked.sort])
    pages = max(1, -(-len(found) // PER_PAGE))
    begin = (min(asked.page, pages) - 1) * PER_PAGE
    return found[begin : begin + PER_PAGE], len(found), pages


def route_row(route: Document, known: Document | None, at: float) -> Document:
    """One route of the fleet page."""
    found = known or {}
    bad = route["verdict"] in ("unhealthy", "degraded")
    why = route["diagnosis"] or (f"{route['symptom']}: {route['message']}" if route["symptom"] else "")
    return {
        "name": route["name"],
        "member": route["member"],
        "verdict": route["verdict"],
        "mark": MARKS[route["verdict"]],
        "why": (why if bad else "")[:300],
        "since": since(route["verdict_since"], at),
        "last": last_failure(found.get("last"), at),
        "tools": route["tools"],
        "tokens": route["tokens"],
        "p50": milliseconds(found.get("p50")),
        "p95": milliseconds(found.get("p95")),
        "p95s": found.get("p95"),
        "a24": percent(found.get("24h")),
        "a7": percent(found.get("7d")),
        "a30d": percent(found.get("30d")),
        "a30": found.get("30d"),
        "bar": bar(found.get("bar", [])),
    }


def last_failure(last: Document | None, at: float) -> str:
    """The last outage of a route that works, in words; empty without one."""
    if last is None:
        return ""
    cause = f": {last['cause'].replace('_', ' ')}" if last["cause"] else ""
    planned = ", announced" if last["announced"] else ""
    return (
        f"last failure {since(last['begin'], at).removeprefix('since ')}, for {span(last['end'] - last['begin'])}{planned}{cause}"
    )


def member_row(member: Document, at: float) -> Document:
    """One member of the fleet page."""
    return {
        "name": member["name"],
        "kind": member["kind"],
        "runtime": member["runtime"],
        "want": member["want"],
        "phase": member["phase"],
        "verdict": member["verdict"],
        "mark": MARKS[member["verdict"]],
        "generation": member["generation"],
        "restarts": member["restarts"],
        "since": since(member["since"], at),
        "cpu": f"{member['cpu']:.1f} %" if member["pid"] else "–",
        "rss": size(member["rss"]),
        "why": (member["last_exit"] or member["reason"] if member["phase"] in ("backoff", "failed") else "")[:300],
    }


def bar(slots: list[list[Any]]) -> Document:
    """A history bar: for each kind of hour one SVG path of its runs, and the same in words. Bad hours are taller, not only red."""
    kinds = [_kind(share, announced) for share, announced in slots]
    paths: dict[str, str] = {}
    begin = 0
    for index in range(1, len(kinds) + 1):
        if index == len(kinds) or kinds[index] != kinds[begin]:
            top = {"good": 4, "some": 2, "bad": 0, "planned": 4, "none": 11}[kinds[begin]]
            run = f"M{begin} {top}h{index - begin}V{BAR_HEIGHT}H{begin}z"
            paths[kinds[begin]] = paths.get(kinds[begin], "") + run
            begin = index
    bad, known = sum(kind in ("bad", "some") for kind in kinds), sum(kind != "none" for kind in kinds)
    words = f"last {len(kinds)} hours: {known - bad} without trouble, {bad} with outages, {len(kinds) - known} unknown"
    return {"paths": paths, "words": words, "width": max(1, len(kinds))}


def _kind(share: float | None, announced: float) -> str:
    if share is None:
        return "planned" if announced else "none"
    return "good" if share >= 1 else "some" if share >= 0.9 else "bad"


def milliseconds(seconds: float | None) -> str:
    """A latency for people."""
    if seconds is None:
        return "–"
    value = seconds * 1000
    if value >= 1000:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def size(number: float | None) -> str:
    """Bytes for people."""
    if not number:
        return "–"
    if number < 2**20:
        return f"{number / 2**10:.0f} KiB"
    return f"{number / 2**20:.0f} MiB" if number < 10 * 2**30 else f"{number / 2**30:.1f} GiB"


def moment(at: float | None) -> str:
    """A time for people, UTC."""
    return "-" if at is None else iso(WallTime(at))[:19].replace("T", " ") + " UTC"


def since(begin: float | None, at: float) -> str:
    """A beginning for people, the same at every look: `since 12:08`, with its day when that is not today (UTC)."""
    if begin is None:
        return ""
    text, now = iso(WallTime(begin)), iso(WallTime(at))
    return f"since {text[11:16]}" if text[:10] == now[:10] else f"since {text[5:10]} {text[11:16]}"


def light(view: FleetView) -> Document:
    """What sentences, counts and orders need of a fleet of any size: a full status document of 1,000 routes is 2 MiB."""
    return {
        "routes": [{"name": one.name, "verdict": one.verdict.value} for one in view.routes],
        "members": [
            {"name": one.name, "want": one.want.value, "phase": one.phase.value, "verdict": one.verdict.value}
            for one in view.members
        ],
        "diagnoses": [*(plain(one) for one in view.diagnoses[:CAUSES]), *view.diagnoses[CAUSES:]],
    }


def only(view: FleetView, routes: Collection[str], members: Collection[str]) -> FleetView:
    """The view with these routes and members alone."""
    return replace(
        view,
        routes=tuple(one for one in view.routes if one.name in routes),
        members=tuple(one for one in view.members if one.name in members),
        diagnoses=(),
    )


def part(view: FleetView, names: frozenset[str]) -> FleetView:
    """The view with the routes and members that these names are about, at most `LIVE_ROWS` of each."""
    routes = [one.name for one in view.routes if one.name in names or one.member in names][:LIVE_ROWS]
    return only(view, frozenset(routes), frozenset([one.name for one in view.members if one.name in names][:LIVE_ROWS]))


def turn(view: FleetView, number: int) -> FleetView:
    """The view with the `LIVE_ROWS` routes and members whose turn it is: all of them, after so many turns as there are pages."""

    def whose(names: list[str]) -> frozenset[str]:
        begin = number % max(1, -(-len(names) // LIVE_ROWS)) * LIVE_ROWS
        return frozenset(names[begin : begin + LIVE_ROWS])

    return only(view, whose([one.name for one in view.routes]), whose([one.name for one in view.members]))


def member_rank(member: Document) -> tuple[int, str]:
    """Worst first."""
    stopped = member["want"] == "up" and member["phase"] in ("backoff", "failed")
    return (-1 if stopped else _RANK[member["verdict"]], member["name"])
