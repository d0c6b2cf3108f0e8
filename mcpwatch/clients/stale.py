"""Entries a person once wrote by hand that point at our routes under an old name or an old address. Pure: finds and says why.

Nothing is removed without being asked for: this only offers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcpwatch.clients.formats.path import Element, Path, Value, elements, members
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.route import ClientRoute

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "host.docker.internal"})  # noqa: S104 - read, not bound
_KEYS = ("url", "serverUrl", "httpUrl", "uri")
_TAILS = ("sse", "mcp", "message", "messages")


@dataclass(frozen=True, slots=True)
class Stale:
    """One entry offered for removal: where it is, what it points at, why it is offered."""

    path: Path
    name: str
    url: str
    reason: str
    alive: bool = False
    """Whether something answers at an address that is not our proxy's: it may be another fleet's, and stays."""


def stale(document: Value, box: Path, listed_by: str, routes: Sequence[ClientRoute], ledger: Ledger) -> tuple[Stale, ...]:
    """The entries in every container called like `box` that are not ours and point at one of `routes`, or once did."""
    found: list[Stale] = []
    for path, name, entry in _entries(document, box, listed_by):
        if ledger.owns(path) or any(letter == "\0" for letter in name):
            continue
        for url in _urls(entry):
            reason = _why(url, name, routes)
            if reason:
                found.append(Stale(path, name, url, reason))
                break
    return tuple(found)


def elsewhere(url: str, routes: Sequence[ClientRoute]) -> bool:
    """Whether `url` is at another address than every route of ours."""

    def place(address: str) -> tuple[str, int | None]:
        try:
            parts = urlsplit(address)
            host = "127.0.0.1" if parts.hostname in LOOPBACK else parts.hostname or ""
            return host, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return "", None

    return place(url) not in {place(other) for route in routes for other in (route.sse, route.http) if other}


def _entries(document: Value, box: Path, listed_by: str) -> Iterator[tuple[Path, str, Value]]:
    for container, holder in _containers(document, box):
        if listed_by:
            for item in elements(holder):
                name: Value = item
                for part in listed_by.split("."):
                    name = members(name).get(part)
                if isinstance(name, str):
                    yield (*container, Element(listed_by, name)), name, item
        else:
            for name, item in members(holder).items():
                yield (*container, name), name, item


def _containers(document: Value, box: Path) -> Iterator[tuple[Path, Value]]:
    """The container itself, and those of the same name one level further down (Claude Code keeps one per project)."""
    here = document
    for step in box:
        here = members(here).get(step) if isinstance(step, str) else None
    if here is not None:
        yield box, here
    for outer, inner in members(document).items():
        for key, item in members(inner).items():
            holder = members(item).get(box[-1]) if isinstance(box[-1], str) else None
            if holder is not None:
                yield (outer, key, box[-1]), holder


def _urls(entry: Value) -> Iterator[str]:
    body = members(entry)
    for holder in (body, members(body.get("transport"))):
        for key in _KEYS:
            if isinstance(value := holder.get(key), str):
                yield value
    for word in elements(body.get("args")) + elements(body.get("command")):
        if isinstance(word, str) and word.startswith(("http://", "https://")):
            yield word


def _why(url: str, name: str, routes: Sequence[ClientRoute]) -> str:
    for route in routes:
        if url in (route.sse, route.http):
            return (
                f"points at route '{route.name}' under the name '{name}'"
                if name != route.name
                else "is the same entry, written by hand"
            )
    try:
        here = urlsplit(url)
        port = here.port or (443 if here.scheme == "https" else 80)
    except ValueError:
        return ""
    ours = {urlsplit(other).hostname for route in routes for other in (route.sse, route.http) if other}
    ports = {urlsplit(other).port for route in routes for other in (route.sse, route.http) if other}
    parts = [part for part in here.path.split("/") if part]
    if here.hostname not in LOOPBACK | ours or len(parts) < 2 or parts[-1] not in _TAILS:
        return ""
    target = parts[-2]
    known = next((route for route in routes if route.name == target), None)
    if known is not None:
        return f"points at an old address of route '{target}' (now {known.sse or known.http})"
    return f"points at this proxy, which has no route '{target}'" if port in ports else ""
