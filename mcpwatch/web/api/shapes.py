"""JSON Schemas of what the API answers, made from the frozen data that it shows, so that the document has every field.

Only the document's generator and tests use this. It must not know operations.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Any, Literal, NewType, Union

Schema = dict[str, Any]
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def schema_of(kind: Any, **more: Schema) -> Schema:
    """The schema of a value of this type as `model.json.plain` shows it; of a dataclass with further members `more`."""
    if kind in _SCALARS:
        return dict(_SCALARS[kind])
    if isinstance(kind, NewType):
        return schema_of(kind.__supertype__)
    if dataclasses.is_dataclass(kind):
        return _object(kind, more)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [one.value for one in kind]}
    return _generic(kind)


def _object(kind: Any, more: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(kind)
    shown = {one.name: schema_of(hints[one.name]) for one in dataclasses.fields(kind) if one.repr}
    words = (kind.__doc__ or "").strip().partition("\n")[0]
    properties = {**shown, **more}
    return {"title": kind.__name__, "type": "object", "description": words, "properties": properties, "required": list(properties)}


def _generic(kind: Any) -> Schema:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        choices = [schema_of(one) for one in arguments]
        simple = [one["type"] for one in choices if set(one) == {"type"}]
        return {"type": simple} if len(simple) == len(choices) else {"anyOf": choices}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list, set, frozenset):
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is not None and issubclass(origin, typing.Mapping):  # pyright: ignore[reportUnknownArgumentType]
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    return {}


def lifted(schema: Any, found: dict[str, Schema]) -> Any:
    """The same with every titled object as a reference; `found` gets the objects by name."""
    if isinstance(schema, list):
        return [lifted(one, found) for one in typing.cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    pairs = {key: lifted(value, found) for key, value in typing.cast("Schema", schema).items()}
    if isinstance(title := pairs.get("title"), str) and pairs.get("type") == "object":
        found[title] = {key: value for key, value in pairs.items() if key != "title"}
        return {"$ref": f"#/components/schemas/{title}"}
    return pairs
