"""The `mcp` check: one session from handshake to close, everything a client would do, everything a check may ask.

Knows stages and expectations; the wires know how. What it learns before trouble comes is kept in `Found`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

from mcpwatch.checks import judge
from mcpwatch.checks.course import Course
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.trouble import Trouble, one_line
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Tool, Vantage
from mcpwatch.model.spec import CheckSpec

PAGES_MAX = 200
"""Pages of one list that are followed."""
ITEMS_MAX = 100_000
"""Items of one list that are taken."""


@dataclass
class Found:
    """What a probe has learned so far; the prober makes its result of it, whatever happens next."""

    server: ServerInfo | None = None
    tools: tuple[Tool, ...] | None = None
    items: list[Message] = field(default_factory=list[Message])
    fingerprint: str | None = None
    tokens: int | None = None
    contract: str | None = None
    lint: tuple[str, ...] = ()
    degraded: list[Trouble] = field(default_factory=list[Trouble])
    """What is wrong, but not so wrong that a client cannot work."""


async def examine(wire: Wire, check: CheckSpec, vantage: Vantage, course: Course, found: Found) -> None:
    """Run the check over a wire. Raises `Trouble` at the first failure."""
    await wire.open()
    found.server = wire.server
    wrong = judge.identity(check.expect, wire.server)
    if wrong:
        raise wrong
    if "tools" in wire.server.capabilities or check.expect.min_tools or check.expect.tools or check.canary:
        await _list_tools(wire, check, course, found)
    else:
        found.tools = ()
    if check.canary is not None:
        course.enter(Stage.CANARY)
        result = await wire.call("tools/call", {"name": check.canary.tool, "arguments": _arguments(check.canary.arguments)})
        wrong = judge.call(check.expect, result, check.canary.tool, vantage)
        if wrong:
            raise wrong


async def _list_tools(wire: Wire, check: CheckSpec, course: Course, found: Found) -> None:
    course.enter(Stage.TOOLS_LIST)
    found.items = await pages(wire, "tools/list", "tools")
    found.tools = judge.tools_of(found.items)
    found.fingerprint = judge.fingerprint(found.tools)
    wrong = judge.listing(check.expect, found.tools)
    if wrong:
        raise wrong


async def pages(wire: Wire, method: str, key: str) -> list[Message]:
    """Every item of a paged list. Raises `Trouble(BAD_REPLY)` for a list that is none or never ends."""
    items: list[Message] = []
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        result = await wire.call(method, {} if cursor is None else {"cursor": cursor})
        page = result.get(key)
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", page)):
            raise Trouble(Symptom.BAD_REPLY, f"the result of {method} has no list of {key}")
        items += cast("list[Message]", page)
        following = result.get("nextCursor")
        if not following:
            return items
        if not isinstance(following, str) or following in seen:
            raise Trouble(Symptom.BAD_REPLY, f"{method} goes in circles: cursor {one_line(json.dumps(following), 60)} came twice")
        seen.add(following)
        cursor = following
        if len(seen) > PAGES_MAX or len(items) > ITEMS_MAX:
            raise Trouble(Symptom.TOO_LARGE, f"{method} has more than {PAGES_MAX} pages or {ITEMS_MAX} items")


def _arguments(text: str) -> Message:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the canary's arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TypeError("the canary's arguments are no JSON object")
    return cast("Message", value)
