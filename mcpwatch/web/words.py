"""The fleet in one word, a span of time, what a cause of trouble makes mcpwatch do next: for command line, page and MCP server."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUNGS = {
    "restart": "restart the member",
    "restart_proxy": "restart the proxy, once for all routes that need it",
    "reconnect": "reconnect",
    "resume": "let it run again",
    "quarantine": "left to a person: repairs did not help",
}


def next_step(cause: dict[str, Any]) -> str:
    """What comes next, from a diagnosis as JSON, as the watchdog itself says; one of an older version says only the rung."""
    if cause.get("next"):
        return str(cause["next"])
    if cause.get("hold"):
        return str(cause["hold"])
    return RUNGS.get(str(cause.get("rung")), "left to a person: a restart does not help against this")


def fleet_state(document: dict[str, Any]) -> str:
    """The fleet in one word: `starting`, `healthy`, `degraded`, `unhealthy`, `stopping` or `stopped`.

    `starting` is told while a wanted member is on its way up and nothing is known to be wrong; a fleet that is healthy in part
    and wrong in another is `unhealthy`. `degraded`: everything is known, runs and serves, some of it not as it should.
    """
    members = document["members"]
    phases = [member["phase"] for member in members]
    if members and all(phase in ("stopping", "stopped") for phase in phases):
        return "stopping" if "stopping" in phases else "stopped"
    if document["healthy"]:
        return "healthy"
    wanted = [member for member in members if member["want"] == "up"]
    down = any(member["phase"] in ("failed", "backoff") or member["verdict"] == "unhealthy" for member in wanted)
    down = down or bool(document["diagnoses"]) or not wanted
    up = {member["name"] for member in wanted if member["phase"] == "running"}
    wrong = any(route["member"] in up and route["verdict"] == "unhealthy" for route in document["routes"])
    if down or wrong:
        return "unhealthy"
    known = all(one["verdict"] in ("healthy", "degraded") for one in (*wanted, *document["routes"]))
    return "degraded" if known and len(up) == len(wanted) else "starting"


def ago(seconds: float | None) -> str:
    """A span for people: `42s`, `3m05s`, `2h10m`, `4d03h`; `-` for none."""
    if seconds is None:
        return "-"
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
