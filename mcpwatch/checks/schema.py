"""The deep part of schema lint: whether every schema of a tool is valid JSON Schema at all. Pure; the door of jsonschema for it."""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import unquote

from mcpwatch.checks.failure import PLACE_MAX, REASON_MAX, one_line
from mcpwatch.model.contract import Definition, lint

TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
DEPTH_MAX = 100
"""Levels of a schema in which references are looked for."""
PLAIN_DEPTH_MAX = 16
"""Levels of a schema that are taken for plainly valid."""
LINES_MAX = 20
"""Lines of lint kept of one server."""
_INDEX = re.compile(r"[0-9]{1,9}")


def lint_tools(tools: list[Definition]) -> tuple[str, ...]:
    """Everything that makes real clients refuse a tool, or all tools of the server, a line each."""
    lines = list(lint(tools))
    for tool in tools:
        for key in ("inputSchema", "outputSchema"):
            schema = tool.get(key)
            if isinstance(schema, dict) and not plain(cast("Definition", schema)):
                reason = invalid(cast("Definition", schema))
                if reason:
                    lines.append(f"tool {str(tool.get('name'))[:60]!r}: its {key} is not valid JSON Schema: {reason}")
                elif lost := lost_reference(cast("Definition", schema)):
                    lines.append(f"tool {str(tool.get('name'))[:60]!r}: its {key} refers to {lost}, which is not there")
    if len(lines) > LINES_MAX:
        lines = [*lines[: LINES_MAX - 1], f"and {len(lines) - LINES_MAX + 1} more"]
    return tuple(lines)


def plain_tools(tools: list[Any]) -> bool:
    """Whether all schemas of these tools are plain, or none at all."""
    known = (cast("Definition", tool) for tool in tools if isinstance(tool, dict))
    schemas = (tool.get(key) for tool in known for key in ("inputSchema", "outputSchema"))
    return all(plain(cast("Definition", schema)) for schema in schemas if isinstance(schema, dict))


def plain(schema: object, depth: int = 0) -> bool:
    """Whether a schema is made of the plainest parts only, so that it is valid without asking jsonschema (which is slow)."""
    if schema is True or schema is False:
        return True
    if not isinstance(schema, dict) or depth > PLAIN_DEPTH_MAX:
        return False
    for key, value in cast("Definition", schema).items():
        if key in ("title", "description", "$comment"):
            fine = isinstance(value, str)
        elif key == "type":
            fine = isinstance(value, str) and value in TYPES
        elif key in ("properties", "$defs", "definitions"):
            fine = isinstance(value, dict) and all(plain(part, depth + 1) for part in cast("Definition", value).values())
        elif key in ("items", "additionalProperties"):
            fine = plain(value, depth + 1)
        elif key in ("anyOf", "oneOf", "allOf"):
            parts = cast("list[Any]", value) if isinstance(value, list) else []
            fine = bool(parts) and all(plain(part, depth + 1) for part in parts)
        elif key == "required":
            names = cast("list[Any]", value) if isinstance(value, list) else [None]
            fine = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        else:
            fine = key == "default" or (key == "examples" and isinstance(value, list))
        if not fine:
            return False
    return True


def lost_reference(schema: Definition) -> str:
    """The first `$ref` of a schema that leads nowhere within it, or the empty string; clients fetch no schema from elsewhere."""
    names: set[str] = set()
    references: list[str] = []
    _collect(schema, names, references, 0)
    for reference in references:
        if not reference.startswith("#"):
            if reference not in names:
                return one_line(reference, PLACE_MAX)
        elif not (reference[1:] in names or _points(schema, unquote(reference[1:]))):
            return one_line(reference, PLACE_MAX)
    return ""


def _collect(value: object, names: set[str], references: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        return
    if isinstance(value, list):
        for part in cast("list[Any]", value):
            _collect(part, names, references, depth + 1)
    if not isinstance(value, dict):
        return
    for key, part in cast("Definition", value).items():
        if isinstance(part, str) and key in ("$ref", "$dynamicRef"):
            references.append(part)
        elif isinstance(part, str) and key in ("$id", "$anchor", "$dynamicAnchor"):
            names.add(part)
        elif key not in ("const", "enum", "default", "examples"):
            _collect(part, names, references, depth + 1)


def _points(schema: object, pointer: str) -> bool:
    if pointer and not pointer.startswith("/"):
        return False
    place = schema
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and _INDEX.fullmatch(key) and int(key) < len(cast("list[Any]", place)):
            place = cast("list[Any]", place)[int(key)]
        elif isinstance(place, dict) and key in place:
            place = cast("Definition", place)[key]
        else:
            return False
    return True


def invalid(schema: Definition) -> str:
    """Why a schema is none, or the empty string. A dialect that is not known is taken for 2020-12."""
    import jsonschema
    from jsonschema.validators import validator_for

    try:
        kind: Any = validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(str(step) for step in error.absolute_path)
        return one_line(f"{where}: {error.message}" if where else error.message, REASON_MAX)
    except RecursionError:
        return "it is nested too deeply"
    except Exception as error:  # noqa: BLE001 - a schema can break its checker in ways nobody listed (patterns, references)
        return one_line(f"it cannot be checked ({type(error).__name__})", REASON_MAX)
    return ""
