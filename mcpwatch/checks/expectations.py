"""What a check expected against what it got. Pure: results in, failures out; knows no wire."""

from __future__ import annotations

import json
from typing import Any, cast

from mcpwatch.checks import classify
from mcpwatch.checks.failure import PLACE_MAX, TEXT_MAX, UNCUT_LIMIT, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.model.contract import canonical, digest, item
from mcpwatch.model.probe import Expect, ServerInfo, Stage, Symptom, Tool, Vantage
from mcpwatch.pattern import matches


def tools_of(items: list[Message]) -> tuple[Tool, ...]:
    """The listed tools with their fingerprints, in the order listed. Raises `ProbeFailure(BAD_REPLY)` for one without a name."""
    found: list[Tool] = []
    for tool in items:
        name = tool.get("name")
        if not isinstance(name, str) or not name:
            raise ProbeFailure(
                Symptom.BAD_REPLY, f"a listed tool has no name: {one_line(json.dumps(tool), PLACE_MAX)}", stage=Stage.TOOLS_LIST
            )
        annotations = tool.get("annotations")
        hints = cast("dict[str, Any]", annotations) if isinstance(annotations, dict) else {}
        found.append(Tool(name, digest(canonical(item(tool))), hints.get("readOnlyHint") is True))
    return tuple(found)


def fingerprint(tools: tuple[Tool, ...]) -> str:
    """One fingerprint for a whole list, whatever its order."""
    return digest("\n".join(sorted(f"{tool.name}={tool.fingerprint}" for tool in tools)))


def identity(expect: Expect, server: ServerInfo) -> ProbeFailure | None:
    """Whether the right server answered."""
    if expect.server_name is not None and server.name != expect.server_name:
        return ProbeFailure(
            Symptom.WRONG_SERVER,
            f"the server calls itself {server.name or 'nothing'!r}, expected {expect.server_name!r}: somebody else answers here",
            stage=Stage.INITIALIZE,
        )
    if expect.server_version is not None and server.version != expect.server_version:
        return ProbeFailure(
            Symptom.WRONG_SERVER,
            f"the server is version {server.version or 'unknown'!r}, expected {expect.server_version!r}",
            stage=Stage.INITIALIZE,
        )
    return None


def listing(expect: Expect, tools: tuple[Tool, ...]) -> ProbeFailure | None:
    """Whether the list is what was expected. An empty list is a failure unless `min_tools: 0` was written."""
    names = {tool.name for tool in tools}
    absent = [name for name in expect.tools if name not in names]
    least = expect.min_tools
    if not tools and least != 0:
        return ProbeFailure(Symptom.EMPTY_TOOLS, "the server lists no tools at all", stage=Stage.TOOLS_LIST)
    if absent:
        return ProbeFailure(Symptom.MISSING_TOOLS, f"not listed: {', '.join(absent[:8])}", stage=Stage.TOOLS_LIST)
    if least is not None and len(tools) < least:
        return ProbeFailure(Symptom.MISSING_TOOLS, f"{len(tools)} tools listed, expected at least {least}", stage=Stage.TOOLS_LIST)
    return None


def text_of(result: Message) -> str:
    """The text a `tools/call` result holds."""
    content = result.get("content")
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    texts = [str(cast("Message", block).get("text", "")) for block in blocks if isinstance(block, dict)]
    return "\n".join(text for text in texts if text)


def tool_error(result: Message, tool: str, vantage: Vantage, *, listed: bool = False) -> ProbeFailure | None:
    """What a `tools/call` result with `isError` means: the tool's own failure, unless its words are those of a gateway.

    `listed`: as `session_words.passed_on`.
    """
    if not result.get("isError"):
        return None
    text = text_of(result)
    shown = one_line(text, TEXT_MAX)
    symptom = classify.gateway_error(text, vantage, listed=listed)
    if symptom is not None:
        return ProbeFailure(symptom, f"calling {tool} failed, and not in the tool: {shown or 'no reason given'}", said=shown)
    return ProbeFailure(Symptom.TOOL_ERROR, f"calling {tool} failed: {shown}", said=shown)


def safe_tool(items: list[Message]) -> str | None:
    """A tool that is read-only by its annotations and needs arguments, so that calling it with none can do nothing."""
    for tool in items:
        annotations, schema = tool.get("annotations"), tool.get("inputSchema")
        if not isinstance(annotations, dict) or not isinstance(schema, dict):
            continue
        hints, told = cast("Message", annotations), cast("Message", schema)
        if hints.get("readOnlyHint") is True and hints.get("destructiveHint") is not True and told.get("required"):
            return str(tool["name"])
    return None


def call(expect: Expect, result: Message, tool: str, vantage: Vantage, *, listed: bool = False) -> ProbeFailure | None:
    """Whether the result of a canary is what was expected. `listed`: as `session_words.passed_on`."""
    failed = tool_error(result, tool, vantage, listed=listed)
    if failed is not None:
        return failed
    text = text_of(result)
    whole = text or json.dumps(result, ensure_ascii=False)
    if expect.contains is not None and expect.contains not in whole:
        return _unlike(tool, f"does not contain {expect.contains!r}", whole)
    if expect.regex is not None and not matches(expect.regex, whole):
        return _unlike(tool, f"does not match /{one_line(expect.regex, PLACE_MAX)}/", whole)
    if expect.jsonpath is not None or expect.json_schema is not None:
        from mcpwatch.checks.shape import unlike

        reason = unlike(expect, result, text)
        if reason:
            return _unlike(tool, reason, whole)
    return None


def _unlike(tool: str, why: str, whole: str) -> ProbeFailure:
    return ProbeFailure(Symptom.UNEXPECTED, f"the result of {tool} {why}", said=one_line(whole, UNCUT_LIMIT))
