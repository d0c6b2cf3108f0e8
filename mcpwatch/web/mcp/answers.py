"""What each tool answers, over the API's operations: lists cut to `limit`, texts to a width. Knows no SDK and no wire.

What servers wrote (log lines, messages, tool names) is data for the agent, and the descriptions of the tools say so.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from mcpwatch.model.errors import UsageError
from mcpwatch.model.time import WallTime, iso
from mcpwatch.web.mcp.tool import Ask, Document
from mcpwatch.web.page.summary import sentence
from mcpwatch.web.words import next_step

TEXT = 300
"""Characters of one text."""
MOST = 100
"""Largest `limit`."""


def _short(text: object) -> str:
    words = str(text or "")
    return words if len(words) <= TEXT else words[: TEXT - 1] + "…"


def _path(name: object) -> str:
    return quote(str(name), safe="")


async def fleet_status(ask: Ask, given: Document) -> Document:
    """Routes, worst first."""
    status = await ask("GET", "/status", None)
    order = {"unhealthy": 0, "degraded": 1, "unknown": 2, "healthy": 3}
    routes = sorted(status["routes"], key=lambda one: (order[one["verdict"]], one["name"]))
    if given.get("only_trouble"):
        routes = [one for one in routes if one["verdict"] != "healthy"]
    begin, limit = _begin(given), int(given.get("limit", 30))
    shown = [
        {
            "name": one["name"],
            "health": one["verdict"],
            "since": None if one["verdict_since"] is None else iso(WallTime(one["verdict_since"])),
            "why": _short(one["diagnosis"] or (f"{one['symptom']}: {one['message']}" if one["symptom"] else "")),
            "tools": one["tools"],
        }
        for one in routes[begin : begin + limit]
    ]
    more = str(begin + limit) if begin + limit < len(routes) else None
    return {"healthy": status["healthy"], "summary": _short(sentence(status)), "total": len(routes), "routes": shown, "next": more}


def _begin(given: Document) -> int:
    text = str(given.get("cursor") or "0")
    if not text.isdecimal() or len(text) > 15:
        raise UsageError("cursor is what `next` of the answer before said")
    return int(text)


async def explain(ask: Ask, given: Document) -> Document:
    """What `mcpwatch why` says of one."""
    found = await ask("GET", f"/why/{_path(given['name'])}", None)
    causes = [
        {
            "cause": one["cause"],
            "subject": one["subject"],
            "text": _short(one["text"]),
            "evidence": [_short(line) for line in one["evidence"][:8]],
            "next": _short(next_step(one)),
        }
        for one in found["causes"][:5]
    ]
    return {"name": given["name"], "causes": causes, "reasoning": [_short(line) for line in found["lines"][:60]]}


async def check_now(ask: Ask, given: Document) -> Document:
    """The configured checks, run now."""
    body = {"name": given["name"]} | ({"vantage": given["vantage"]} if given.get("vantage") else {})
    found = await ask("POST", "/probe", body)
    keys = ("check", "vantage", "outcome", "symptom", "seconds")
    results = [{**{key: one[key] for key in keys}, "message": _short(one["message"])} for one in found[:20]]
    return {"name": given["name"], "results": results}


async def events(ask: Ask, given: Document) -> Document:
    """Recorded facts, newest first."""
    query = {"limit": str(given.get("limit", 20))}
    query |= {"member": given["name"]} if given.get("name") else {}
    query |= {"cursor": str(_begin(given))} if given.get("cursor") else {}
    found = await ask("GET", f"/events?{urlencode(query)}", None)
    shown = [{"time": one["time"], "level": one["level"], "text": _short(one["text"])} for one in found["events"]]
    return {"events": shown, "next": None if found["next"] is None else str(found["next"])}


async def logs(ask: Ask, given: Document) -> Document:
    """The latest lines of a member, newest first."""
    query = {"lines": str(given.get("limit", 40))} | ({"stream": given["stream"]} if given.get("stream") else {})
    found = await ask("GET", f"/logs/{_path(given['name'])}?{urlencode(query)}", None)
    lines = [{"time": one["time"], "stream": one["stream"], "text": _short(one["text"])} for one in reversed(found["lines"])]
    return {"name": given["name"], "lines": lines}


async def search_logs(ask: Ask, given: Document) -> Document:
    """Lines that Loki keeps, newest first."""
    query = {"query": given["query"], "limit": str(given.get("limit", 40))}
    found = await ask("GET", f"/search?{urlencode(query)}", None)
    lines = found["lines"]
    return {
        "lines": [{"time": one["time"], "member": one["labels"].get("member", ""), "text": _short(one["text"])} for one in lines]
    }


async def system_metrics(ask: Ask, given: Document) -> Document:  # noqa: ARG001 - the shape of all tools
    """Load, memory and disk of the machine, and its members, largest first."""
    found, status = await ask("GET", "/system", None), await ask("GET", "/status", None)
    keys = ("name", "runtime", "phase", "cpu", "rss", "pid", "restarts", "started_at")
    members = sorted(({key: one[key] for key in keys} for one in status["members"]), key=lambda one: -(one["rss"] or 0))
    return {**found, "members": members}


async def history(ask: Ask, given: Document) -> Document:
    """Availability and latency, worst routes first."""
    found = (await ask("GET", "/availability", None))["routes"]
    name = given.get("name")
    if name is not None and name not in found:
        raise UsageError(f"no route '{name}'; there are {', '.join(list(found)[:20])}")
    names = [name] if name else sorted(found, key=lambda one: (found[one]["30d"] if found[one]["30d"] is not None else 101.0, one))
    begin, limit = _begin(given), int(given.get("limit", 30))
    keys = ("24h", "7d", "30d", "p50", "p95", "down_since")
    rows = [{"name": one, **{key: found[one][key] for key in keys}} for one in names[begin : begin + limit]]
    return {"routes": rows, "next": str(begin + limit) if begin + limit < len(names) else None}


async def contract_diff(ask: Ask, given: Document) -> Document:
    """How what is listed differs from what was accepted."""
    found = await ask("GET", f"/tools/{_path(given['name'])}", None)
    sides = [
        {
            "vantage": one["vantage"],
            "version": _short(one["version"]),
            "pinned": one["pinned"],
            "changes": [_short(line) for line in one["changes"][:MOST]],
        }
        for one in found
    ]
    return {"name": given["name"], "differs": any(one["changes"] for one in found), "sides": sides}


async def restart(ask: Ask, given: Document) -> Document:
    """Restart a member."""
    found = await ask("POST", f"/members/{_path(given['name'])}/restart", None)
    return {"name": found["name"], "phase": found["phase"], "generation": found["generation"]}


async def silence(ask: Ask, given: Document) -> Document:
    """Silence its alerts."""
    body = {"targets": [given["name"]], "for": given.get("duration", "1h"), "comment": given.get("comment", "")}
    found = await ask("POST", "/silences", body)
    return {"id": found["id"], "until": found["until"]}


async def accept_contract(ask: Ask, given: Document) -> Document:
    """Accept what it lists now."""
    return {"name": given["name"], "accepted": [_short(line) for line in await ask("POST", f"/pin/{_path(given['name'])}", None)]}
