"""`tools` and `pin`: what servers list, what it weighs, how it differs from what was accepted, and accepting it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from mcpwatch.cli import exits
from mcpwatch.cli.control import call
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.table import coloured, paint, table

WIDTH = 100


def show_tools(name: str | None, *, diff: bool, as_json: bool) -> int:
    """Print the tools of one member or route, or an overview of all. Exits 1 with `--diff` when something differs from the pin."""
    if name is None:
        return _overview(as_json=as_json)
    found: list[dict[str, Any]] = call("GET", f"/tools/{quote(name, safe='')}")
    changed = any(seen["changes"] for seen in found)
    say_answer(found, (line for seen in found for line in _lines(seen, diff=diff)), as_json=as_json)
    return exits.UNHEALTHY if diff and changed else exits.OK


def _lines(seen: dict[str, Any], *, diff: bool) -> Iterator[str]:
    colour = coloured()
    tools: list[dict[str, Any]] = seen["contract"].get("tools", [])
    where = "itself" if seen["vantage"] == "direct" else "through the proxy"
    yield f"{seen['name']} ({where}), version {seen['version'] or '-'}: {len(tools)} tools, about {seen['tokens']} tokens"
    if not diff:
        rows = [(str(tool["name"]), " ".join(str(tool.get("description", "")).split())[:WIDTH]) for tool in tools]
        yield from (f"  {line}" for line in table(("TOOL", "DESCRIPTION"), rows, colour=colour))
    yield from (f"  {paint('≠', 'yellow', on=colour)} {change}" for change in seen["changes"])
    if seen["changes"]:
        yield f"  differs from what was pinned {seen['pinned']}; accept it with: mcpwatch pin {seen['name']}"
    elif diff:
        yield f"  as pinned {seen['pinned']}"


def _overview(*, as_json: bool) -> int:
    found: dict[str, Any] = call("GET", "/tools")
    total = {key: sum(route[key] for route in found["routes"]) for key in ("tools", "tokens")}
    routes: list[dict[str, Any]] = [*found["routes"], {"name": "all", **total}]
    rows = [(route["name"], str(route["tools"]), str(route["tokens"])) for route in routes]
    lines = table(("ROUTE", "TOOLS", "TOKENS"), rows, colour=coloured(), right=(1, 2))
    for tool, owners in found["collisions"].items():
        lines.append(f"! tool '{tool}' is listed by {', '.join(owners)}: a client that merges them shows only one")
    say_answer(found, lines, as_json=as_json)
    return exits.OK


def pin(name: str, *, as_json: bool) -> int:
    """Accept what a member or route lists now."""
    accepted: list[str] = call("POST", f"/pin/{quote(name, safe='')}")
    lines = [*(f"accepted  {change}" for change in accepted), f"{name}: pinned" + ("" if accepted else ", nothing had changed")]
    say_answer(accepted, lines, as_json=as_json)
    return exits.OK
