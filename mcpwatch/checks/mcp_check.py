"""The `mcp` check: one session from handshake to close, everything a client would do, everything a check may ask.

Knows stages and expectations; the wires know how. What it learns before a failure is kept in `Findings`.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, cast

from pydantic import Field

from mcpwatch.checks import classify, expectations, hidden_text, shapes, sibling
from mcpwatch.checks.context import CheckKind, Probe, as_written
from mcpwatch.checks.failure import NAME_MAX, ProbeFailure, one_line
from mcpwatch.checks.list_cache import Others
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.wire import MODERN_VERSION, Wire
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.registry import KindSpec

PAGES_MAX = 200
"""Pages of one list that are followed."""
OTHERS_SHARE = 0.5
"""Share of the time left that each list beside the tools may take."""
ITEMS_MAX = 100_000
"""Items of one list that are taken."""


class McpCheck(KindSpec):
    """Speaks MCP from handshake to close; with `tool` (a common key) it is a canary."""

    safe_call: bool | None = Field(
        None,
        description="Call one read-only tool that needs arguments without any: the upstream's own validation error proves the way. "
        "Default: where lists are answered from a cache (the proxy kind says so, or the server shows it).",
    )
    hold: float = Field(
        0, ge=0, le=3600, description="Leave the session idle for this many seconds, then ping it: shows what cuts idle streams."
    )


async def run_mcp(probe: Probe, spec: McpCheck) -> None:
    """Run the check. Raises `ProbeFailure` at the first failure."""
    wire = probe.wire = _wire(probe)
    expect, canary, found = probe.check.expect, probe.check.canary, probe.found
    await sibling.opened(wire, probe)
    found.server = wire.server
    found.lists_from_cache = classify.cache_evidence(probe.target.url, wire.server)
    wrong = expectations.identity(expect, wire.server)
    if wrong:
        raise wrong
    if "tools" in wire.server.capabilities or expect.min_tools or expect.tools or canary:
        await _list_tools(wire, probe)
    else:
        found.tools = ()
    await _hold(wire, spec.hold, probe.timeline)
    shown = probe.vantage == "direct" and canary is None and bool(found.lists_from_cache)  # of a route, the plan knows the proxy
    behind = probe.check.safe_call or shown
    found.remembers = behind if spec.safe_call is None else spec.safe_call
    if found.remembers:
        await _safe_call(wire, probe)
    if canary is not None:
        probe.timeline.enter(Stage.CANARY)
        result = await wire.call("tools/call", {"name": canary.tool, "arguments": _arguments(canary.arguments)})
        if wrong := await _expected(probe, result, canary.tool):
            raise wrong
    await _keep_contract(wire, probe)
    found.degraded += wire.remarks()


async def _expected(probe: Probe, result: Message, tool: str) -> ProbeFailure | None:
    """What is wrong with the result of a canary. What a library looks through, loading that first, is looked at in a thread."""
    expect = probe.check.expect
    aside = (expect.regex, expect.jsonpath, expect.json_schema) != (None, None, None)
    judge = partial(expectations.call, expect, result, tool, probe.vantage, listed=probe.passes_results)
    return await asyncio.to_thread(judge) if aside else judge()


def _wire(probe: Probe) -> Wire:
    """The session that this target is spoken to in, not yet open."""
    from mcpwatch.checks import era
    from mcpwatch.checks.stdio import StdioWire

    if probe.target.command:
        return StdioWire(probe.target, probe.timeline)
    return era.choose(probe.caller(), probe.eras)


async def _list_tools(wire: Wire, probe: Probe) -> None:
    probe.timeline.enter(Stage.TOOLS_LIST)
    items, digest = await pages(wire, "tools/list", "tools")
    probe.timeline.leave()  # what follows is our own work, not the server's
    found = probe.found
    listed = await probe.cache.listed(digest, items, modern=wire.server.protocol == MODERN_VERSION)
    found.tools, found.fingerprint, found.tokens = listed.tools, listed.fingerprint, listed.tokens
    found.lint = (*listed.lint, *listed.hidden)
    found.safe = listed.safe
    wrong = expectations.listing(probe.check.expect, listed.tools)
    if wrong:
        raise wrong
    for symptom, lines in ((Symptom.SCHEMA, listed.lint), (Symptom.HIDDEN_TEXT, listed.hidden)):
        _degrade(probe, symptom, lines, Stage.TOOLS_LIST)
    found.items, found.digest = items, digest


def _degrade(probe: Probe, symptom: Symptom, lines: tuple[str, ...], stage: Stage) -> None:
    for first in lines[:1]:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        probe.found.degraded.append(ProbeFailure(symptom, first + more, stage=stage))


async def _keep_contract(wire: Wire, probe: Probe) -> None:
    """The contract text, with prompts and resources as listed now or a while ago. Last of all: it proves nothing."""
    if probe.check.contract == "ignore":
        return
    others = probe.cache.others(probe.target, probe.timeline.now)
    if others is None:
        others = await _list_others(wire, probe.timeline)
        probe.cache.keep_others(probe.target, others)
    found = probe.found
    if others.failed is not None:
        found.degraded.append(others.failed)
    found.lint = (*found.lint, *others.hidden)
    _degrade(probe, Symptom.HIDDEN_TEXT, others.hidden, Stage.PROMPTS_LIST)
    found.contract = probe.cache.contract(found.digest, found.items, others)


async def _list_others(wire: Wire, timeline: ProbeTimeline) -> Others:
    """The prompts and resources, as far as the server offers them and answers in time; no failure of these fails a probe."""
    lists: dict[str, list[Message] | None] = {"prompts": None, "resources": None, "resourceTemplates": None}
    plan: tuple[tuple[str, Stage, str, str], ...] = (
        ("prompts", Stage.PROMPTS_LIST, "prompts/list", "prompts"),
        ("resources", Stage.RESOURCES_LIST, "resources/list", "resources"),
        ("resources", Stage.RESOURCES_LIST, "resources/templates/list", "resourceTemplates"),
    )
    whole = b""
    failed: ProbeFailure | None = None
    for capability, stage, method, key in plan:
        if capability not in wire.server.capabilities:
            continue
        timeline.enter(stage)
        try:
            async with asyncio.timeout(timeline.left * OTHERS_SHARE):
                listed, digest = await pages(wire, method, key)
        except TimeoutError:
            failed = ProbeFailure(Symptom.TIMEOUT, f"{method} is not answered in time", stage=stage)
            break  # the wire may be in the middle of something: leave it alone
        except ProbeFailure as failure:
            if failure.symptom not in (Symptom.RPC_ERROR, Symptom.BAD_REPLY):
                failure.stage, failed = stage, failure
                break
            digest = b"-"
        else:
            lists[key] = listed
        whole += digest
    hidden = (
        *hidden_text.lint("the server", [wire.hello] if wire.hello else [], "name"),
        *hidden_text.lint("prompt", lists["prompts"] or []),
        *hidden_text.lint("resource", lists["resources"] or [], "uri"),
        *hidden_text.lint("resource template", lists["resourceTemplates"] or [], "uriTemplate"),
    )
    return Others(timeline.now, whole, lists["prompts"], lists["resources"], lists["resourceTemplates"], failed, hidden)


async def _hold(wire: Wire, seconds: float, timeline: ProbeTimeline) -> None:
    """Leave the session idle for a while, then ping: what cuts or forgets idle sessions shows itself."""
    if not seconds or wire.server.protocol == MODERN_VERSION:
        return
    timeline.enter(Stage.PING)
    await asyncio.sleep(seconds)
    await wire.call("ping", {})


async def _safe_call(wire: Wire, probe: Probe) -> None:
    """Call a read-only tool that needs arguments without any: only who is behind the route can say what is missing."""
    tool = probe.found.safe
    if tool is None:
        return
    probe.timeline.enter(Stage.SAFE_CALL)
    try:
        result = await wire.call("tools/call", {"name": tool, "arguments": {}})
    except ProbeFailure as failure:
        if classify.refine(failure, probe.vantage, listed=probe.listed).symptom is not Symptom.RPC_ERROR:
            raise
        probe.found.said = failure.said
        return
    wrong = expectations.tool_error(result, tool, probe.vantage, listed=probe.passes_results)
    if wrong is not None and wrong.symptom is not Symptom.TOOL_ERROR:
        raise wrong
    probe.found.said = wrong.said if wrong is not None else ""


async def pages(wire: Wire, method: str, key: str) -> tuple[list[Message], bytes]:
    """Every item of a paged list, and a digest of what was sent. Raises `ProbeFailure` for one that is none or never ends."""
    items: list[Message] = []
    digests: list[bytes] = []
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        result = await wire.call(method, {} if cursor is None else {"cursor": cursor})
        shapes.page(method, result)
        page = result.get(key)
        if page is None and key in result:
            page = []  # servers in Go say null for an empty list
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", page)):
            raise ProbeFailure(Symptom.BAD_REPLY, f"the result of {method} has no list of {key}")
        digests.append(wire.digest)
        items += cast("list[Message]", page)
        following = cast("str", result.get("nextCursor"))
        if not following:
            return items, b"".join(digests)
        if following in seen:
            raise ProbeFailure(Symptom.BAD_REPLY, f"{method} goes in circles: cursor {one_line(following, NAME_MAX)!r} came twice")
        seen.add(following)
        cursor = following
        if len(seen) > PAGES_MAX or len(items) > ITEMS_MAX:
            raise ProbeFailure(Symptom.TOO_LARGE, f"{method} has more than {PAGES_MAX} pages or {ITEMS_MAX} items")


def _arguments(text: str) -> Message:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the canary's arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TypeError("the canary's arguments are no JSON object")
    return cast("Message", value)


MCP = CheckKind("mcp", McpCheck, as_written, "speaks MCP: handshake, tools/list, canary, safe call", run=run_mcp)
