"""Which wire a target speaks: from its spec, or found out by asking (references/gateways.md §5.4)."""

from __future__ import annotations

from mcpwatch.checks.caller import Caller
from mcpwatch.checks.course import Course
from mcpwatch.checks.legacy import LegacyWire
from mcpwatch.checks.lines import Lines
from mcpwatch.checks.streamable import StreamableWire
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import Target


async def choose(target: Target, lines: Lines, course: Course) -> Wire:
    """The wire for a target."""
    caller = Caller(target, lines, course)
    if target.transport == "sse" or (target.transport == "auto" and caller.url.path.rstrip("/").endswith("/sse")):
        return LegacyWire(caller)
    return StreamableWire(caller)
