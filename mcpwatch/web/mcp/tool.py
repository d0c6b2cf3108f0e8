"""What a tool is: what it takes and gives, how its arguments are checked and its answer is cut. Knows no tool, SDK or wire."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcpwatch.model.errors import UsageError

Document = dict[str, Any]
Ask = Callable[[str, str, Document | None], Awaitable[Any]]
"""Asks the watchdog: method, path, body. Raises `McpwatchError`."""

ANSWER = 12_000
"""Characters of JSON in one answer: about 3,000 tokens."""


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool. `items` names the list in its answer that is cut when the answer is too long."""

    name: str
    title: str
    description: str
    properties: Document
    answer: Document
    run: Callable[[Ask, Document], Awaitable[Document]]
    required: tuple[str, ...] = ()
    items: str = ""
    operate: bool = False
    destructive: bool = False
    open_world: bool = False
    idempotent: bool = True

    @property
    def input_schema(self) -> Document:
        """JSON Schema of what it takes."""
        return {"type": "object", "properties": self.properties, "required": list(self.required), "additionalProperties": False}

    @property
    def output_schema(self) -> Document:
        """JSON Schema of what it gives."""
        return {"type": "object", "properties": self.answer, "required": list(self.answer)}


async def call(tool: McpTool, ask: Ask, arguments: Document) -> Document:
    """Run a tool; its answer, cut to size. Raises `UsageError` for wrong arguments, and what the watchdog refuses."""
    return bounded(await tool.run(ask, checked(tool, arguments)), tool.items)


def checked(tool: McpTool, arguments: Document) -> Document:
    """The arguments, of the right types and within their bounds. Raises `UsageError`."""
    for name in tool.required:
        if name not in arguments:
            raise UsageError(f"{tool.name} needs {name}")
    for name, value in arguments.items():
        schema = tool.properties.get(name)
        if schema is None:
            raise UsageError(f"{tool.name} takes no {name}")
        kinds = {"string": str, "integer": int, "boolean": bool}
        if not isinstance(value, kinds[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool)):
            raise UsageError(f"{name} must be of type {schema['type']}")
        if isinstance(value, str) and (len(value) > 500 or value not in schema.get("enum", [value])):
            raise UsageError(f"{name} must be {' or '.join(schema['enum']) if 'enum' in schema else 'shorter'}")
        if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            raise UsageError(f"{name} must be between {schema['minimum']} and {schema['maximum']}")
    return arguments


def bounded(answer: Document, items: str) -> Document:
    """`answer` with its list `items` cut until the whole fits; `truncated` says so."""
    size = len(json.dumps(answer, ensure_ascii=False))
    if not items or size <= ANSWER:
        return answer
    kept: list[Any] = []
    room = ANSWER - (size - len(json.dumps(answer[items], ensure_ascii=False))) - 100
    for item in answer[items]:
        room -= len(json.dumps(item, ensure_ascii=False)) + 2
        if room < 0:
            break
        kept.append(item)
    return {**answer, items: kept, "truncated": True}
