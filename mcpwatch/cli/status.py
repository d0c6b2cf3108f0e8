"""The status document as lines for people. Pure: from the JSON of `GET /status` (or of `status.json`) to text."""

from __future__ import annotations

from mcpwatch.cli.table import milliseconds, paint, size, table, visible
from mcpwatch.web.words import ago, fleet_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_COLOURS = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "unknown": "grey",
    "running": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "red",
    "failed": "red",
    "stopped": "grey",
}
_STAGES = {"tools_list": "tools", "initialize": "init", "resources_list": "resources", "prompts_list": "prompts"}
_SHOWN_STAGES = ("resolve", "connect", "tls", "open", "endpoint", "discover", "initialize", "initialized", "tools_list", "canary")


def render(document: dict[str, Any], *, colour: bool, now: float | None = None, width: int | None = None) -> list[str]:
    """The whole status: one line of the daemon, the members, the routes, and what is wrong. Tables are at most `width` wide."""
    at = document["at"] if now is None else now
    daemon = document["daemon"]
    lines = [_headline(document, at, colour=colour)]
    if daemon.get("web") and not document.get("stopped"):
        lines.append(f"status page: {daemon['web']}")
    if daemon.get("config_error"):
        lines.append(paint(f"configuration rejected, the running one stays: {daemon['config_error']}", "yellow", on=colour))
    for down in daemon.get("down", ()):
        words = f"the {down['name']} service is down, what it shows is not known: {down['reason']}"
        lines.append(paint(words, "red", on=colour))
    for trouble in daemon.get("troubles", ()):
        words = f"the watchdog is in trouble ({trouble['name']}, for {ago(at - trouble['since'])}): {trouble['reason']}"
        lines.append(paint(words, "red", on=colour))
    if 0 < daemon.get("carries", 0) < len(document["members"]):
        words = f"{len(document['members'])} members, and the limit of open files carries {daemon['carries']}: raise 'ulimit -n'"
        lines.append(paint(words, "yellow", on=colour))
    lines += ["", *_members(document, at, colour=colour, width=width)]
    if document["routes"]:
        lines += ["", *_routes(document, at, colour=colour, width=width)]
    waiting = _waiting(document)
    trouble = [*([waiting] if waiting else []), *_trouble(document, at, colour=colour)]
    return [*lines, "", *trouble] if trouble else lines


def named(document: dict[str, Any]) -> set[str]:
    """Every name of a member or route."""
    return {one["name"] for one in (*document["members"], *document["routes"])}


def only(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The status of these members or routes alone, `healthy` when they are; of all without names."""
    if not names:
        return document
    routes = [one for one in document["routes"] if one["name"] in names or one["member"] in names]
    carried = {*names, *(one["member"] for one in routes)}
    members = [one for one in document["members"] if one["name"] in carried]
    spoken = {*carried, *(one["name"] for one in routes)}
    diagnoses = [one for one in document["diagnoses"] if spoken & {one["subject"], *one.get("members", ()), *one["affects"]}]
    wanted = [one for one in members if one["want"] == "up"]
    well = all(one["phase"] == "running" and one["verdict"] in ("healthy", "unknown") for one in wanted)
    up = {one["name"] for one in wanted}
    well = well and all(one["verdict"] == "healthy" for one in routes if one["member"] in up)
    return {**document, "members": members, "routes": routes, "diagnoses": diagnoses, "healthy": well}


def _waiting(document: dict[str, Any]) -> str:
    """Which members the proxy's first start waits for, or the empty string."""
    proxy = next((member for member in document["members"] if member["name"] == document.get("proxy")), None)
    if proxy is None or proxy["want"] != "up" or proxy["phase"] != "stopped" or proxy["generation"]:
        return ""
    late = [member["name"] for member in document["members"] if member["want"] == "up" and member["phase"] == "starting"]
    return f"{proxy['name']} waits for {', '.join(late)} to become ready (or for the end of their start_grace)" if late else ""


def _headline(document: dict[str, Any], at: float, *, colour: bool) -> str:
    daemon, members, routes = document["daemon"], document["members"], document["routes"]
    if document.get("stopped"):
        return f"mcpwatch {daemon['version']}  {paint('not running', 'grey', on=colour)}"
    well = sum(1 for route in routes if route["verdict"] == "healthy")
    up = sum(1 for member in members if member["phase"] == "running")
    word = fleet_state(document)
    state = paint(word, _COLOURS[word], on=colour)
    uptime = ago(at - daemon["started_at"])
    counts = f"{up}/{len(members)} members up, {well}/{len(routes)} routes healthy"
    return f"mcpwatch {daemon['version']}  {state}  {counts}  pid {daemon['pid']}, up {uptime}"


def _members(document: dict[str, Any], at: float, *, colour: bool, width: int | None) -> list[str]:
    head = ("MEMBER", "KIND", "RUNTIME", "PHASE", "VERDICT", "GEN", "RESTARTS", "UPTIME", "CPU", "RSS", "PID")
    rows: list[tuple[str, ...]] = []
    for member in document["members"]:
        wanted = "" if member["want"] == "up" else " (down)"
        started = member.get("started_at")
        rows.append(
            (
                member["name"] + wanted,
                member["kind"],
                member["runtime"],
                _shade(member["phase"], colour=colour),
                _shade(member["verdict"], colour=colour),
                str(member["generation"]),
                str(member["restarts"]),
                ago(at - started) if started else "-",
                f"{member['cpu']:.1f}%" if member["pid"] else "-",
                size(member["rss"]),
                str(member["pid"] or (member["usage"].get("container") or "-")[:12]),
            )
        )
    return table(head, rows, colour=colour, right=(5, 6, 7, 8, 9), spare=(2, 1, 5, 8, 9, 10, 7), width=width)


def _routes(document: dict[str, Any], at: float, *, colour: bool, width: int | None) -> list[str]:
    head = ("ROUTE", "URL", "VERDICT", "TOOLS", "LAST OK", "LATENCY ms", "ms")
    rows = [
        (
            route["name"],
            route["url"],
            _shade(route["verdict"], colour=colour),
            "-" if route["tools"] is None else str(route["tools"]),
            f"{ago(at - route['last_success'])} ago" if route["last_success"] else "never",
            _latency(route),
            _total(route),
        )
        for route in document["routes"]
    ]
    whole = table(head[:-1], [row[:-1] for row in rows], colour=colour, right=(3, 4))
    if width is None or all(visible(line) <= width for line in whole):
        return whole
    return table(head, rows, colour=colour, right=(3, 4, 6), spare=(5, 1), width=width)


def _latency(route: dict[str, Any]) -> str:
    """Each stage of the latest probe: `connect 0.3 · endpoint 1.2 · init 2.0 · tools 1.1`."""
    timings: dict[str, float] = route.get("latency") or {}
    return " · ".join(
        f"{_STAGES.get(stage, stage)} {milliseconds(timings[stage])}" for stage in _SHOWN_STAGES if timings.get(stage, 0) >= 0.00005
    )


def _total(route: dict[str, Any]) -> str:
    """All stages of the latest probe together, where there is no room for each."""
    timings: dict[str, float] = route.get("latency") or {}
    return milliseconds(sum(timings.values())) if timings else "-"


def _trouble(document: dict[str, Any], at: float, *, colour: bool) -> list[str]:
    """What is wrong, a line each: the diagnosis where there is one, the symptom where there is none yet."""
    lines: list[str] = []
    spoken: set[str] = set()
    explained: set[str] = set()
    for found in document["diagnoses"]:
        spoken |= {found["subject"], *found.get("members", ())}
        explained |= set(found["affects"])
        mark = paint("✗", "red", on=colour)
        affects = [name for name in dict.fromkeys((*found["affects"], *found.get("members", ()))) if name != found["subject"]]
        hit = f"  (affects {', '.join(affects)})" if affects else ""
        lines.append(f"{mark} {found['subject']}: {found['text']}{hit}")
        lines += [paint(f"    {line}", "grey", on=colour) for line in found["evidence"]]
    for member in document["members"]:
        if member["name"] not in spoken and member["want"] == "up" and member["phase"] in ("backoff", "failed"):
            spoken.add(member["name"])
            retry = f", next try in {ago(member['retry_at'] - at)}" if member.get("retry_at") else ""
            lines.append(f"{paint('✗', 'red', on=colour)} {member['name']}: {member['last_exit'] or member['reason']}{retry}")
    for route in document["routes"]:
        if route["name"] not in explained and route["member"] not in spoken and route["symptom"]:
            lines.append(f"{paint('!', 'yellow', on=colour)} route {route['name']}: {route['symptom']}: {route['message']}")
    return lines


def _shade(word: str, *, colour: bool) -> str:
    return paint(word, _COLOURS.get(word, "grey"), on=colour)


def event_line(fact: dict[str, Any], *, colour: bool) -> str:
    """One fact as a line: local-looking time, level by colour, and its sentence."""
    shade = {"error": "red", "warning": "yellow", "debug": "grey"}.get(str(fact.get("level")), "")
    text = str(fact.get("text", ""))
    stamp = str(fact.get("time", ""))
    return f"{paint(stamp, 'grey', on=colour)}  {paint(text, shade, on=colour) if shade else text}"
