"""Badges as SVG and incidents as Atom: the public forms of what is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

COLOURS = {"healthy": "#1a7f37", "degraded": "#9a6700", "unhealthy": "#b3261e", "unknown": "#57606a"}
WORDS = {"healthy": "up", "degraded": "degraded", "unhealthy": "down", "unknown": "unknown"}
LETTER = 7
"""Width of a letter in a badge."""


def badge(name: str, verdict: str) -> str:
    """A badge: the name of a route and its health, in words and colour."""
    word = WORDS.get(verdict, "unknown")
    left, right = LETTER * len(name) + 12, LETTER * len(word) + 12
    label, colour = escape(f"{name}: {word}"), COLOURS.get(verdict, COLOURS["unknown"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}">'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">'
        f'<text x="6" y="14" textLength="{left - 12}">{escape(name)}</text>'
        f'<text x="{left + 6}" y="14" textLength="{right - 12}">{escape(word)}</text></g></svg>'
    )


def atom(title: str, base: str, updated: str, incidents: Iterable[dict[str, Any]]) -> str:
    """The incidents as an Atom feed (RFC 4287)."""
    entries = "".join(
        f"<entry><id>{escape(base)}public#{escape(str(one['id']))}</id><title>{escape(_printable(one['text']))}</title>"
        f'<updated>{escape(one["time"])}</updated><link href="{escape(base)}public"/></entry>'
        for one in incidents
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom"><id>{escape(base)}public</id>'
        f"<title>{escape(title)}</title><updated>{escape(updated)}</updated><author><name>mcpwatch</name></author>"
        f'<link rel="self" href="{escape(base)}public/incidents.atom"/>{entries}</feed>\n'
    )


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable())
