"""The plain checks below MCP: `http` asks a URL for a status, `tcp` asks a port to take a connection. They prove little."""

from __future__ import annotations

from mcpwatch.checks.caller import Caller, read
from mcpwatch.checks.failure import ProbeFailure, one_line
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.model.probe import Expect, Stage, Symptom
from mcpwatch.pattern import matches

BODY_LIMIT = 1024 * 1024
"""Bytes of a plain answer that are looked at."""


async def examine_http(caller: Caller, expect: Expect, options: dict[str, str], timeline: ProbeTimeline) -> None:
    """GET a path of the target (by default its own) and judge status and text. Raises `ProbeFailure`."""
    if options.get("path"):
        caller.url = caller.url.join(options["path"])
    await caller.transport.prepare(caller.url)
    timeline.enter(Stage.OPEN)
    response = await caller.get((("Accept", "*/*"),))
    what = caller.path("GET")
    wanted = {int(code) for code in options.get("status", "").split(",") if code.strip()}
    fits = response.status_code in wanted if wanted else response.is_success
    if not fits:
        failure = await caller.refuse(response, what)
        if wanted:
            failure.message += f"; expected {', '.join(str(code) for code in sorted(wanted))}"
        raise failure
    if expect.contains is None and expect.regex is None:
        await response.aclose()
        return
    text = (await read(response, BODY_LIMIT, cut=True)).decode("utf-8", "replace")
    if expect.contains is not None and expect.contains not in text:
        raise ProbeFailure(Symptom.UNEXPECTED, f"{what} does not contain {expect.contains!r}", said=one_line(text, 200))
    if expect.regex is not None and not matches(expect.regex, text):
        raise ProbeFailure(Symptom.UNEXPECTED, f"{what} does not match /{one_line(expect.regex, 80)}/", said=one_line(text, 200))


async def examine_tcp(caller: Caller) -> None:
    """Connect to the target's host and port (through TLS for `https`). Raises `ProbeFailure`."""
    await caller.transport.prepare(caller.url)
