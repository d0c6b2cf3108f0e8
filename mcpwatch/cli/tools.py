"""`tools` and `pin`: what servers list, what it weighs, how it differs from what was accepted, and accepting it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mcpwatch.cli import exits
from mcpwatch.cli.control import call
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, paint, table

WIDTH = 100


def show_tools(name: str | None, *, diff: bool, as_json: bool) -> int:
    """Print the tools of one member or route, or an overview of all. Exits 1 with `--diff` when something differs from the pin."""
    if name is None:
        return _overview(as_json=as_json)
    found: list[dict[str, Any]] = call("GET", f"/tools/{quote(name, safe='')}")
    changed = any(seen["changes"] for seen in found)
    if as_json:
        say_json(found)
    else:
        for seen in found:
            _print(seen, diff=diff)
    return exits.UNHEALTHY if diff and changed else exits.OK


def _print(seen: dict[str, Any], *, diff: bool) -> None:
    colour = coloured()
    tools: list[dict[str, Any]] = seen["contract"].get("tools", [])
    where = "itself" if seen["vantage"] == "direct" else "through the proxy"
    say(f"{seen['name']} ({where}), version {seen['version'] or '-'}: {len(tools)} tools, about {seen['tokens']} tokens")
    if not diff:
        rows = [(str(tool["name"]), " ".join(str(tool.get("description", "")).split())[:WIDTH]) for tool in tools]
        for line in table(("TOOL", "DESCRIPTION"), rows, colour=colour):
            say(f"  {line}")
    for change in seen["changes"]:
        say(f"  {paint('≠', 'yellow', on=colour)} {change}")
    if seen["changes"]:
        say(f"  differs from what was pinned {seen['pinned']}; accept it with: mcpwatch pin {seen['name']}")
    elif diff:
        say(f"  as pinned {seen['pinned']}")


def _overview(*, as_json: bool) -> int:
    found: dict[str, Any] = call("GET", "/tools")
    if as_json:
        say_json(found)
        return exits.OK
    rows = [(route["name"], str(route["tools"]), str(route["tokens"])) for route in found["routes"]]
    rows.append(
        ("all", str(sum(route["tools"] for route in found["routes"])), str(sum(route["tokens"] for route in found["routes"])))
    )
    for line in table(("ROUTE", "TOOLS", "TOKENS"), rows, colour=coloured(), right=(1, 2)):
        say(line)
    for tool, owners in found["collisions"].items():
        say(f"! tool '{tool}' is listed by {', '.join(owners)}: a client that merges them shows only one")
    return exits.OK


def pin(name: str, *, as_json: bool) -> int:
    """Accept what a member or route lists now."""
    accepted: list[str] = call("POST", f"/pin/{quote(name, safe='')}")
    if as_json:
        say_json(accepted)
        return exits.OK
    for change in accepted:
        say(f"accepted  {change}")
    say(f"{name}: pinned" + ("" if accepted else ", nothing had changed"))
    return exits.OK
