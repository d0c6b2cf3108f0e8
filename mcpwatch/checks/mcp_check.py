"""The `mcp` check: one session from handshake to close, everything a client would do, everything a check may ask.

Knows stages and expectations; the wires know how. What it learns before failure comes is kept in `Findings`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, cast

from mcpwatch.checks import classify, expectations
from mcpwatch.checks.failure import ProbeFailure, one_line
from mcpwatch.checks.list_cache import ListCache, Others
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.wire import MODERN_VERSION, Wire
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Target, Tool, Vantage
from mcpwatch.model.spec import CheckSpec

PAGES_MAX = 200
"""Pages of one list that are followed."""
OTHERS_SHARE = 0.5
"""Share of the time left that each list beside the tools may take."""
ITEMS_MAX = 100_000
"""Items of one list that are taken."""


@dataclass(frozen=True, slots=True)
class CheckRun:
    """What is to be examined, and the prober's cache."""

    check: CheckSpec
    target: Target
    vantage: Vantage
    cache: ListCache


@dataclass(slots=True)
class Findings:
    """What a probe has learned so far; the prober makes its result of it, whatever happens next."""

    server: ServerInfo | None = None
    tools: tuple[Tool, ...] | None = None
    fingerprint: str | None = None
    tokens: int | None = None
    contract: str | None = None
    lint: tuple[str, ...] = ()
    items: list[Message] = field(default_factory=list[Message])
    digest: bytes = b""
    safe: str | None = None
    """A tool that may be called without arguments."""
    degraded: list[ProbeFailure] = field(default_factory=list[ProbeFailure])
    """What is wrong, but not so wrong that a client cannot work."""


async def examine(wire: Wire, run: CheckRun, timeline: ProbeTimeline, found: Findings) -> None:
    """Run the check over a wire. Raises `ProbeFailure` at the first failure."""
    expect, canary = run.check.expect, run.check.canary
    await wire.open()
    found.server = wire.server
    wrong = expectations.identity(expect, wire.server)
    if wrong:
        raise wrong
    if "tools" in wire.server.capabilities or expect.min_tools or expect.tools or canary:
        await _list_tools(wire, run, timeline, found)
    else:
        found.tools = ()
    await _hold(wire, run, timeline)
    await _safe_call(wire, run, timeline, found)
    if canary is not None:
        timeline.enter(Stage.CANARY)
        result = await wire.call("tools/call", {"name": canary.tool, "arguments": _arguments(canary.arguments)})
        wrong = expectations.call(expect, result, canary.tool, run.vantage)
        if wrong:
            raise wrong
    await _keep_contract(wire, run, timeline, found)


async def _list_tools(wire: Wire, run: CheckRun, timeline: ProbeTimeline, found: Findings) -> None:
    timeline.enter(Stage.TOOLS_LIST)
    items, digest = await pages(wire, "tools/list", "tools")
    timeline.leave()  # what follows is our own work, not the server's
    listed = await run.cache.listed(digest, items)
    found.tools, found.fingerprint, found.tokens, found.lint = listed.tools, listed.fingerprint, listed.tokens, listed.lint
    found.safe = listed.safe
    wrong = expectations.listing(run.check.expect, listed.tools)
    if wrong:
        raise wrong
    if listed.lint:
        first, *rest = listed.lint
        more = f" (and {len(rest)} more)" if rest else ""
        found.degraded.append(ProbeFailure(Symptom.SCHEMA, first + more, stage=Stage.TOOLS_LIST))
    found.items, found.digest = items, digest


async def _keep_contract(wire: Wire, run: CheckRun, timeline: ProbeTimeline, found: Findings) -> None:
    """The contract text, with prompts and resources as listed now or a while ago. Last of all: it proves nothing."""
    if run.check.contract == "ignore":
        return
    others = run.cache.others(run.target, timeline.now)
    if others is None:
        others = await _list_others(wire, timeline)
        run.cache.keep_others(run.target, others)
    if others.failed is not None:
        found.degraded.append(others.failed)
    found.contract = run.cache.contract(found.digest, found.items, others)


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
    return Others(timeline.now, whole, lists["prompts"], lists["resources"], lists["resourceTemplates"], failed)


async def _hold(wire: Wire, run: CheckRun, timeline: ProbeTimeline) -> None:
    """Leave the session idle for a while, then ping: what cuts or forgets idle sessions shows itself."""
    seconds = float(dict(run.check.options).get("hold", "0"))
    if not seconds or wire.server.protocol == MODERN_VERSION:
        return
    timeline.enter(Stage.PING)
    await asyncio.sleep(seconds)
    await wire.call("ping", {})


async def _safe_call(wire: Wire, run: CheckRun, timeline: ProbeTimeline, found: Findings) -> None:
    """Call a read-only tool that needs arguments without any: only who is behind the route can say what is missing."""
    if dict(run.check.options).get("safe_call") != "true" or found.safe is None:
        return
    timeline.enter(Stage.SAFE_CALL)
    try:
        result = await wire.call("tools/call", {"name": found.safe, "arguments": {}})
    except ProbeFailure as failure:
        if classify.refine(failure, run.vantage).symptom is not Symptom.RPC_ERROR:
            raise
        return
    wrong = expectations.tool_error(result, found.safe, run.vantage)
    if wrong is not None and wrong.symptom is not Symptom.TOOL_ERROR:
        raise wrong


async def pages(wire: Wire, method: str, key: str) -> tuple[list[Message], bytes]:
    """Every item of a paged list, and a digest of what was sent. Raises `ProbeFailure` for one that is none or never ends."""
    items: list[Message] = []
    digests: list[bytes] = []
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        result = await wire.call(method, {} if cursor is None else {"cursor": cursor})
        page = result.get(key)
        if page is None and key in result:
            page = []  # servers in Go say null for an empty list
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", page)):
            raise ProbeFailure(Symptom.BAD_REPLY, f"the result of {method} has no list of {key}")
        digests.append(wire.digest)
        items += cast("list[Message]", page)
        following = result.get("nextCursor")
        if not following:
            return items, b"".join(digests)
        if not isinstance(following, str) or following in seen:
            raise ProbeFailure(
                Symptom.BAD_REPLY, f"{method} goes in circles: cursor {one_line(json.dumps(following), 60)} came twice"
            )
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
