"""What the official SDKs demand of an answer before a client gets to see it: shapes, and the words for what does not fit.

A value is refused here when at least two of the three official clients refuse it (Python SDK 2, TypeScript SDK 1, TypeScript
client 2); what a single one refuses is lint (ADR 0060, `tests/checks/test_differential.py`). Pure; knows no wire.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mcpwatch.checks.failure import NAME_MAX, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.model.probe import Stage, Symptom

Text = str | UnsetType
Flag = bool | UnsetType
Meta = dict[str, Any] | UnsetType
Object = dict[str, Any]


class ObjectShape(msgspec.Struct):
    """A JSON object; keys that no field names may hold anything."""


class Implementation(ObjectShape):
    """`serverInfo`."""

    name: str
    version: str
    title: Text = UNSET


class Changing(ObjectShape):
    """A capability whose list may change."""

    listChanged: Flag = UNSET  # noqa: N815 - as on the wire
    subscribe: Flag = UNSET


class Capabilities(ObjectShape):
    """`capabilities` of a server."""

    tools: Changing | UnsetType = UNSET
    prompts: Changing | UnsetType = UNSET
    resources: Changing | UnsetType = UNSET
    logging: Object | UnsetType = UNSET
    completions: Object | UnsetType = UNSET


class Initialized(ObjectShape):
    """The result of `initialize`."""

    protocolVersion: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815
    capabilities: Capabilities
    serverInfo: Implementation  # noqa: N815
    instructions: Text = UNSET
    meta: Meta = msgspec.field(default=UNSET, name="_meta")


class ObjectSchema(ObjectShape):
    """The top of a schema; what is inside is lint's (`mcpwatch.checks.schema`)."""

    type: Literal["object"]
    properties: dict[str, Object | bool | list[Any]] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET


class Annotations(ObjectShape):
    """`annotations` of a tool."""

    title: Text = UNSET
    readOnlyHint: Flag = UNSET  # noqa: N815
    destructiveHint: Flag = UNSET  # noqa: N815
    idempotentHint: Flag = UNSET  # noqa: N815
    openWorldHint: Flag = UNSET  # noqa: N815


class AnyTool(ObjectShape):
    """What a tool is in every version; its output differs."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    inputSchema: ObjectSchema  # noqa: N815
    title: Text = UNSET
    description: Text = UNSET
    annotations: Annotations | UnsetType = UNSET
    meta: Meta = msgspec.field(default=UNSET, name="_meta")


class ListedTool(AnyTool):
    """A tool of a handshake version."""

    outputSchema: ObjectSchema | UnsetType = UNSET  # noqa: N815


class ModernTool(AnyTool):
    """A tool of 2026-07-28, whose output may be of any schema."""

    outputSchema: Object | UnsetType = UNSET  # noqa: N815


_WRONG = re.compile(r"Expected `([^`]+)`, got `([^`]+)`$")
_MISSING = re.compile(r"Object missing required field `([^`]+)`$")
_ITEM = re.compile(r"^\[(\d+)\]\.?")
_NAMELESS = re.compile(r"^\[\d+\](?:\.name\b| is )")
_NAMES = {"str": "text", "bool": "true or false", "object": "an object", "array": "a list", "int": "a number", "float": "a number"}


def initialized(result: Message) -> None:
    """Raise `ProbeFailure(BAD_REPLY)` unless official clients take this result of `initialize`."""
    reason = unfit(Initialized, result)
    if reason:
        raise ProbeFailure(Symptom.BAD_REPLY, f"official clients refuse the initialize result: {reason}")


def page(method: str, result: Message) -> None:
    """Raise `ProbeFailure(BAD_REPLY)` for a page of a list whose frame official clients refuse."""
    if "nextCursor" in result and not isinstance(result["nextCursor"], str):
        shown = one_line(msgspec.json.encode(result["nextCursor"]).decode(), NAME_MAX)
        raise ProbeFailure(Symptom.BAD_REPLY, f"the cursor that {method} gives is no text: {shown}")
    if "_meta" in result and not isinstance(result["_meta"], dict):
        raise ProbeFailure(Symptom.BAD_REPLY, f"official clients refuse the result of {method}: its _meta must be an object")


def tools(items: list[Message], *, modern: bool) -> None:
    """Raise `ProbeFailure(SCHEMA)` for the first tool because of which official clients refuse the whole list.

    A tool without a name is `BAD_REPLY`: nothing of it could be blocked.
    """
    reason = unfit(list[ModernTool] if modern else list[ListedTool], items)
    if not reason:
        return
    found = _ITEM.match(reason)
    symptom = Symptom.BAD_REPLY if _NAMELESS.match(reason) else Symptom.SCHEMA
    number = int(found[1]) if found else 0
    name = items[number].get("name") if number < len(items) else None
    shown = f"tool {one_line(name, NAME_MAX)!r}" if isinstance(name, str) and name else f"tool number {number + 1}"
    text = f"official clients refuse the whole list because of {shown}: {_ITEM.sub('', reason)}"
    raise ProbeFailure(symptom, text, stage=Stage.TOOLS_LIST)


def unfit(shape: Any, value: object) -> str:
    """Why a value is not of a shape, as `serverInfo.title is null and must be text`; the empty string when it is."""
    try:
        msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        return _words(str(error))
    return ""


def _words(said: str) -> str:
    """Msgspec's message in the words of this room; the path comes first: `[3].description is null and must be text`."""
    what, _, place = said.partition(" - at `$")
    at = place.removesuffix("`").removeprefix(".")
    missing, wrong = _MISSING.match(what), _WRONG.match(what)
    if missing:
        return f"{at}{'.' if at else ''}{missing[1]} is missing"
    if wrong:
        wanted = " or ".join(_NAMES.get(part.strip(), part.strip()) for part in wrong[1].split("|"))
        return f"{at or 'it'} is {_NAMES.get(wrong[2], wrong[2])} and must be {wanted}"
    return f"{at or 'it'}: {what[:1].lower()}{what[1:]}"


for _shape in (
    Initialized,
    ListedTool,
    ModernTool,
):  # now, by one thread: where two are the first to use a shape, msgspec 0.22 crashes
    unfit(_shape, {})
