"""Rows of the pages about one thing: stages, probes, events, alerts, contracts, objectives. Pure, plain values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mcpwatch.model.contract import weight
from mcpwatch.model.time import WallTime, iso
from mcpwatch.web.objectives.report import span
from mcpwatch.web.page.views import milliseconds, since, size
from mcpwatch.web.words import ago, next_step

Document = dict[str, Any]
LISTED = 300
"""Tools, prompts or resources shown of one contract."""
EVENTS = 30
"""Lines of events on one page."""


def waterfall(route: Document) -> list[Document]:
    """The stages of the latest probe of a route: where each begins and how long it takes, in percent of the whole."""
    latency: dict[str, float] = route.get("latency") or {}
    timings = list(latency.items())
    whole = sum(seconds for _, seconds in timings) or 1.0
    rows: list[Document] = []
    begin = 0.0
    for number, (stage, seconds) in enumerate(timings, 1):
        rows.append(
            {
                "stage": stage,
                "failed": number == len(timings) and route["verdict"] == "unhealthy" and bool(route["symptom"]),
                "x": round(100 * begin / whole, 2),
                "w": max(0.3, round(100 * seconds / whole, 2)),
                "ms": milliseconds(seconds),
            }
        )
        begin += seconds
    return rows


def probe_rows(subject: Document | None, at: float) -> list[Document]:
    """The latest probe of each check of a member or route."""
    probes: list[Document] = subject["probes"] if subject else []
    return [
        {
            "check": probe["check"],
            "outcome": probe["result"]["outcome"],
            "symptom": probe["result"]["symptom"] or "",
            "message": probe["result"]["message"],
            "said": probe["result"]["said"],
            "streak": f"{row}× in a row" if (row := probe["failures"] or probe["successes"]) > 1 else "",
            "ago": ago(at - probe["at"]),
            "seconds": milliseconds(probe["result"]["seconds"]),
        }
        for probe in probes
    ]


def cause_rows(causes: list[Document]) -> list[Document]:
    """Causes with their evidence and the next step."""
    return [
        {
            "subject": one["subject"],
            "text": one["text"].rstrip("."),
            "evidence": one["evidence"],
            "next": next_step(one).rstrip("."),
        }
        for one in causes
    ]


def event_rows(events: list[Document], now: float, limit: int = EVENTS) -> list[Document]:
    """Recorded facts, newest first, as lines; a failure of one check that comes again and again is one line that says how often."""
    rows: list[Document] = []
    failing: dict[tuple[str, ...], Document] = {}
    day = iso(WallTime(now))[:10]
    for one in events:
        text = str(one["time"])
        if one["fact"] == "probe_finished":
            result: Document = one.get("result") or {}
            key = (one["member"], str(one.get("route")), one["check"], one["vantage"], str(result.get("symptom")))
            if (row := failing.get(key)) is not None:
                row["times"], row["since"] = row["times"] + 1, text[11:16]
                continue
        else:
            failing, key = {}, ()
        if len(rows) == limit:
            break
        row = {"iso": text, "time": text[11:19], "day": "" if text[:10] == day else text[:10], "level": one.get("level", "info")}
        rows.append({**row, "text": one["text"], "times": 1, "since": ""})
        day = text[:10]
        if key:
            failing[key] = rows[-1]
    return rows


def repair_rows(repairs: list[Document], now: float) -> list[Document]:
    """Repairs tried, newest first."""
    return event_rows(sorted(repairs, key=lambda one: str(one["time"]), reverse=True), now)


def incidents(events: list[Document], now: float, down: Collection[str], limit: int = EVENTS) -> list[Document]:
    """Times in which a route was unhealthy, the latest first, from its changes (newest first): when, how long, what was said.

    `down`: the routes that are unhealthy now. One that is not, and whose end was never told, was removed, or this watchdog was.
    """
    ends: dict[str, Document] = {}
    rows: list[Document] = []
    for one in events:
        name = one["route"]
        if one["new"] == "unhealthy":
            end = ends.get(name)
            rows.append(
                {
                    "route": name,
                    "iso": one["time"],
                    "since": since(one["at"], now).removeprefix("since "),
                    "lasts": span((end["at"] if end else now) - one["at"]) if end or name in down else "end unknown",
                    "open": end is None and name in down,
                    "why": str(one["reason"])[:300],
                }
            )
        ends[name] = one
    return rows[:limit]


def alert_row(alert: Document, now: float) -> Document:
    """One alert."""
    return {
        "id": alert["id"],
        "about": alert["route"] or alert["member"],
        "state": alert["state"] + (f", {alert['muted']}" if alert["muted"] else ""),
        "open": alert["state"] != "resolved",
        "severity": alert["severity"],
        "why": alert["why"],
        "since": since(alert["since"], now).removeprefix("since "),
        "lasts": ago((alert["resolved_at"] or now) - alert["since"]),
        "ack": alert["ack"]["by"] if alert["ack"] else "",
    }


def listed(contract: Document) -> list[tuple[str, list[Document]]]:
    """Tools, prompts and resources of a contract, for reading: names and descriptions as text, cut where they are endless."""
    kinds = (("tool", "tools"), ("prompt", "prompts"), ("resource", "resources"))
    return [
        (
            word,
            [
                {
                    "name": str(one.get("name") or one.get("uri") or "")[:200],
                    "description": str(one.get("description") or "")[:600],
                    "tokens": weight([one]),
                }
                for one in contract.get(key, [])[:LISTED]
            ],
        )
        for word, key in kinds
    ]


def client_row(client: Document) -> Document:
    """One client's file; entries that differ in the same way are told together."""
    drift: dict[str, list[str]] = {}
    for item in client.get("drift", ()):
        drift.setdefault(item["text"], []).append(str(item.get("entry", "")))
    told = [f"{', '.join(filter(None, entries))}: {text}" if any(entries) else text for text, entries in drift.items()]
    return {
        "client": client["client"],
        "title": client["title"],
        "path": client["path"],
        "sync": {True: "yes", False: "no", None: "not looked yet"}[client.get("in_sync")],
        "drift": "; ".join(told) or client.get("error") or "none",
        "written": str(client.get("last_write") or "never")[:19].replace("T", " "),
    }


OBJECTIVES = (
    ("availability", "Availability", "≥ "),
    ("connect_p95", "Connect p95", "≤ "),
    ("tool_error_rate", "Failed tool calls", "≤ "),
    ("clients", "Clients at once", "≥ "),
)
"""Objectives in the order of their columns: name, words, and on which side of the promise is well."""
MET = {"met": "✓", "missed": "✗", "unknown": "?"}


def promised(target: Document) -> list[tuple[str, str]]:
    """The columns of the table: each objective and what the fleet promises."""
    units = {"availability": "%", "connect_p95": "s", "tool_error_rate": "%", "clients": ""}
    return [(word, sign + _amount(target[name], units[name])) for name, word, sign in OBJECTIVES]


def objective_cells(objectives: list[Document], target: Document) -> list[Document]:
    """One route's objectives in the order of the columns; `own`: it promises something else than the fleet."""
    found = {one["name"]: one for one in objectives}
    return [
        {
            "name": name,
            "word": word,
            "target": sign + _amount(found[name]["target"], found[name]["unit"]),
            "own": found[name]["target"] != target[name],
            "measured": _amount(found[name]["measured"], found[name]["unit"]),
            "met": found[name]["met"],
            "mark": MET[found[name]["met"]],
            "samples": found[name]["samples"],
            "budget": budget(found[name]["budget"]),
        }
        for name, word, sign in OBJECTIVES
    ]


def budget(left: float | None) -> str:
    """What is left of an error budget, of which `left` percent remain."""
    if left is None:
        return ""
    return f"{left:.0f} % of the budget left" if left >= 0 else f"{1 - left / 100:.3g} × the budget used"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    if unit == "s":
        return milliseconds(value)
    return f"{_shortened(value)} %" if unit == "%" else f"{value:g}"


def _shortened(value: float) -> str:
    """At most three decimals; never rounded up to 100."""
    return "100" if value >= 100 else f"{min(value, 99.999):.3f}".rstrip("0").rstrip(".")


def own_figures(daemon: Document, own: Document, at: float) -> list[tuple[str, str]]:
    """The watchdog's own figures in words."""
    store, logs, shipping, viewers = own["store"], own["logs"], own["shipping"], own["viewers"]
    backlog = "not shipped anywhere" if shipping is None else f"{size(shipping['backlog_bytes'])} not yet acknowledged by Loki"
    rejected = f": rejected: {daemon['config_error']}" if daemon["config_error"] else ""
    return [
        ("Version", daemon["version"]),
        ("Process", f"pid {daemon['pid']}, up {ago(at - daemon['started_at'])}"),
        ("Configuration", daemon["config"] + rejected),
        ("State directory", daemon["state_dir"]),
        ("Memory", size(daemon["rss"])),
        ("Open files", str(daemon["fds"])),
        ("CPU", f"{daemon['cpu_seconds']:.1f} s since the start"),
        ("Event loop lag", f"{milliseconds(daemon['loop_lag'])}, the worst of the last minute"),
        ("Schedule lag", f"{milliseconds(daemon['schedule_lag'])}, the worst of the last minute"),
        ("Store", f"{size(store['bytes'])}, {store['waiting']} writes waiting"),
        ("Logs of members", f"{size(logs['bytes'])} on disk, {backlog}"),
        (
            "Open pages and streams",
            f"{viewers['open']} of at most {viewers['limit']}, {viewers['dropped']} dropped for reading too slowly",
        ),
        ("Facts that a listener was too slow for", str(daemon["dropped_facts"])),
    ]


def fleet_rows(own: Document, title: str, others: list[Document]) -> list[Document]:
    """The rows of the page: this fleet first, each with the words of its state and an address, where there is one."""
    every = [{"name": title, "url": "/", "summary": own, "unknown": ""}, *others]
    return [_fleet_row(one) for one in every]


def _fleet_row(one: Document) -> Document:
    known = one["summary"]
    if known is None:
        return {**one, "state": "unknown", "members": "–", "routes": "–", "text": one["unknown"], "causes": [], "version": "–"}
    every = sum(known["routes"].values())
    return {
        "name": one["name"],
        "url": one["url"],
        "state": known["state"],
        "members": f"{known['running']} of {known['members']} run",
        "routes": f"{known['routes'].get('healthy', 0)} of {every} healthy",
        "text": known["headline"],
        "causes": known["causes"],
        "version": known["version"],
    }
