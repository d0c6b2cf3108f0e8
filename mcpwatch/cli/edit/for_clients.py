"""`--clients`: which entries of `clients` list a new route, and which do not. Pure: changes to a file out, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from mcpwatch.cli.edit.fleet_file import Changes, FleetFile
from mcpwatch.clients.catalog import CLIENTS
from mcpwatch.clients.formats.path import Element
from mcpwatch.model.errors import UsageError, suggest


def for_clients(file: FleetFile, name: str, clients: Sequence[str]) -> Changes:
    """What makes only these clients list the route: a pattern in their `routes`, and `!name` in those of the others.

    A kind that the file does not name yet is added to it, for this route alone, or for all when it is the first of the fleet.
    Raises `UsageError` for an unknown kind, and where it cannot be told which entry is meant.
    """
    if not clients:
        return {}
    if not file.ours:
        raise UsageError("--clients: this format knows no clients; make the file ours: 'mcpwatch init --from FILE'")
    known = [kind.name for kind in CLIENTS]
    unknown = next((kind for kind in clients if kind not in known), None)
    if unknown is not None:
        raise UsageError(f"--clients {unknown}: no such client{suggest(unknown, known)}")
    written = _entries(file)
    kinds = [str(item.get("kind")) for item in written]
    if len(kinds) != len(set(kinds)):
        raise UsageError("--clients: two clients of the file are of one kind; set their 'routes' by hand")
    fresh = [kind for kind in dict.fromkeys(clients) if kind not in kinds]
    changes: Changes = {}
    for kind, item in zip(kinds, written, strict=True):
        routes = _routes(item, name, wanted=kind in clients)
        if routes is not None:
            changes[("clients", Element("kind", kind), "routes")] = routes
    for kind in fresh:
        changes[("clients", Element("kind", kind))] = {"kind": kind, "routes": [name]} if file.members else {"kind": kind}
    return changes


def without(file: FleetFile, name: str) -> Changes:
    """What takes a removed route out of the patterns of clients. Its last pattern a client keeps: none means all."""
    return _rewritten(file, lambda routes: kept if (kept := [one for one in routes if one not in (name, f"!{name}")]) else routes)


def renamed(file: FleetFile, old: str, new: str) -> Changes:
    """What gives a route its new name in the patterns of clients."""
    names = {old: new, f"!{old}": f"!{new}"}
    return _rewritten(file, lambda routes: [names.get(one, one) for one in routes])


def _rewritten(file: FleetFile, change: Callable[[list[str]], list[str]]) -> Changes:
    changes: Changes = {}
    written = _entries(file)
    kinds = [item.get("kind") for item in written]
    for item in written:
        routes = item.get("routes")
        if isinstance(routes, list) and kinds.count(item.get("kind")) == 1:
            before = [str(one) for one in cast("list[Any]", routes)]
            if (after := change(before)) != before:
                changes[("clients", Element("kind", str(item.get("kind"))), "routes")] = after
    return changes


def _entries(file: FleetFile) -> list[dict[str, Any]]:
    found = file.document.get("clients") if file.ours else None
    return [cast("dict[str, Any]", item) for item in cast("list[Any]", found or []) if isinstance(item, dict)]


def _routes(item: dict[str, Any], name: str, *, wanted: bool) -> list[str] | None:
    """The patterns that an entry must have, or `None` when they are right."""
    routes = [str(pattern) for pattern in item.get("routes") or ()]
    if wanted:
        return [*routes, name] if routes else None
    return [*(routes or ["*"]), f"!{name}"]
