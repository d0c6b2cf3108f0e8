"""How the fleet is, in a few words that the page and the MCP server share: what is wrong, and what is being done about it. Pure."""

from __future__ import annotations

from typing import Any

from mcpwatch.web.words import next_step

Document = dict[str, Any]
CAUSES = 3
"""Causes told; the others are counted."""


def summary(status: Document) -> Document:
    """The headline, whether routes are down or degraded, and the causes, each with its subject and the next step."""
    told = [
        {"subject": one["subject"], "text": _capital(one["text"]), "next": next_step(one).rstrip(".")}
        for one in status["diagnoses"][:CAUSES]
    ]
    verdicts = {route["verdict"] for route in status["routes"]}
    return {
        "headline": _headline(status),
        "bad": sum(route["verdict"] == "unhealthy" for route in status["routes"]),
        "some": bool(told) or "degraded" in verdicts or "unknown" in verdicts,
        "causes": told,
        "more": max(0, len(status["diagnoses"]) - CAUSES),
    }


def sentence(status: Document) -> str:
    """The same as one text, with the first cause."""
    found = summary(status)
    if not found["causes"]:
        return found["headline"]
    first, more = found["causes"][0], len(status["diagnoses"]) - 1
    rest = f" {more} more." if more else ""
    return f"{found['headline']} {first['subject']}: {first['text']}. Next: {first['next']}.{rest}"


def _headline(status: Document) -> str:
    routes, members = status["routes"], status["members"]
    if not members:
        return "The fleet has no members yet."
    bad = [route["name"] for route in routes if route["verdict"] == "unhealthy"]
    if bad:
        looking = "" if status["diagnoses"] else " Looking for the cause."
        return f"{len(bad)} of {len(routes)} routes {'is' if len(bad) == 1 else 'are'} down: {_some(bad)}.{looking}"
    down = [one["name"] for one in members if one["want"] == "up" and one["phase"] != "running"]
    if down:
        return f"{_some(down)} {'does' if len(down) == 1 else 'do'} not run."
    slow = [route["name"] for route in routes if route["verdict"] == "degraded"]
    if slow:
        return f"{_some(slow)} {'is' if len(slow) == 1 else 'are'} degraded."
    waiting = [route["name"] for route in routes if route["verdict"] == "unknown"]
    if waiting:
        return f"Not known yet: {_some(waiting)}."
    if status["diagnoses"]:
        return "Every route works, but something is wrong."
    return f"All {len(routes)} routes work." if routes else f"All {len(members)} members run."


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _capital(text: str) -> str:
    return text.rstrip(".")
