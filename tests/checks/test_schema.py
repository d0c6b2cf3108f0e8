"""Lint of schemas: what is plainly valid, what jsonschema refuses, and references that lead nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mcpwatch.checks.schema import invalid, lint_tools, lost_reference, plain

Json = dict[str, Any]

PLAIN: list[object] = [
    True,
    False,
    {},
    {"title": "t", "description": "d", "$comment": "c"},
    *[{"type": name} for name in ("string", "number", "integer", "boolean", "object", "array", "null")],
    {"properties": {"a": {"type": "string"}, "b": True}},
    {"$defs": {"a": {}}, "definitions": {}},
    {"items": {}, "additionalProperties": False},
    {"anyOf": [{}], "oneOf": [{}, True], "allOf": [{"type": "null"}]},
    {"required": ["a", "b"]},
    {"required": []},
    {"default": object, "examples": [1]},
]
SPECIAL: list[object] = [
    None,
    5,
    "x",
    [],
    {"title": 5},
    {"description": None},
    {"type": "text"},
    {"type": ["string", "null"]},
    {"properties": []},
    {"properties": {"a": 5}},
    {"$defs": {"a": {}, "b": {"type": 1}}},
    {"items": [{}]},
    {"additionalProperties": {"type": "no"}},
    {"anyOf": []},
    {"anyOf": {}},
    {"oneOf": [{}, 5]},
    {"required": "a"},
    {"required": ["a", "a"]},
    {"required": ["a", 5]},
    {"examples": 5},
    {"pattern": "a"},
    {"title": "t", "enum": [1]},
]


def test_only_the_plainest_schemas_are_valid_without_asking_jsonschema() -> None:
    assert [schema for schema in PLAIN if not plain(schema)] == []
    assert [schema for schema in SPECIAL if plain(schema)] == []


NEST: list[Callable[[object], Json]] = [
    lambda inner: {"properties": {"a": inner}},
    lambda inner: {"items": inner},
    lambda inner: {"anyOf": [inner]},
]


@pytest.mark.parametrize("nest", NEST)
def test_a_schema_is_plain_down_to_a_depth(nest: Callable[[object], Json]) -> None:
    schema: Json = {}
    for _ in range(16):
        schema = nest(schema)
    assert plain(schema)
    assert not plain(nest(schema))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "object"}, ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"type": "string"}}}, ""),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, ""),
        ({"$schema": "urn:unknown", "type": "string"}, ""),
        ({"$schema": "urn:unknown", "exclusiveMinimum": True}, "exclusiveMinimum: True is not of type 'number'"),
        ({"properties": {"a": {"type": "text"}}}, "properties/a/type: 'text' is not valid under any of the given schemas"),
        ({"type": "t" * 500}, None),
    ],
)
def test_a_schema_is_valid_in_its_dialect_or_the_reason_names_the_place(schema: Json, reason: str | None) -> None:
    told = invalid(schema)
    assert len(told) <= 160
    assert told == reason if reason is not None else told.endswith("…")


def test_a_schema_that_cannot_be_checked_is_told_as_such() -> None:
    deep: Json = {}
    for _ in range(3000):
        deep = {"not": deep}
    assert invalid(deep) == "it is nested too deeply"
    assert invalid({"$schema": 5}).startswith("it cannot be checked (")


def tool(schema: object, key: str = "inputSchema") -> Json:
    return {"name": "read", "description": "d", "inputSchema": {"type": "object"}, key: schema}


@pytest.mark.parametrize("key", ["inputSchema", "outputSchema"])
def test_each_schema_of_a_tool_is_linted(key: str) -> None:
    assert lint_tools([tool({"type": "object"}, key)]) == ()
    assert lint_tools([tool({"type": "object", "minProperties": -1}, key)]) == (
        f"tool 'read': its {key} is not valid JSON Schema: minProperties: -1 is less than the minimum of 0",
    )
    assert lint_tools([tool({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, key)]) == (
        f"tool 'read': its {key} refers to #/$defs/b, which is not there",
    )


def test_lint_keeps_so_many_lines_and_tells_how_many_more_there_are() -> None:
    broken = [tool({"type": "object", "minProperties": -1}) | {"name": f"t{number}"} for number in range(100)]
    assert (len(lint_tools(broken[:20])), "more" in lint_tools(broken[:20])[-1]) == (20, False)
    many = lint_tools(broken)
    assert (len(many), many[-1]) == (20, "and 81 more")


REFERENCES: list[tuple[Json, str]] = [
    ({"$ref": "#/a/b", "a": {"b": {}}}, ""),
    ({"$ref": "#/a/c", "a": {"b": {}}}, "#/a/c"),
    ({"$ref": "#a/b", "a": {"b": {}}}, "#a/b"),
    ({"$ref": "#/allOf/1", "allOf": [{}]}, "#/allOf/1"),
    ({"$ref": "#/allOf/-1", "allOf": [{}]}, "#/allOf/-1"),
    ({"$ref": "#/allOf/x", "allOf": [{}]}, "#/allOf/x"),
    ({"$ref": "#/allOf/\u00b2", "allOf": [{}]}, "#/allOf/\u00b2"),
    ({"$ref": f"#/allOf/{'1' * 9999}", "allOf": [{}]}, f"#/allOf/{'1' * 91}…"),
    ({"$ref": "#/allOf/0/x", "allOf": [{"x": {}}]}, ""),
    ({"$ref": "#/a~0b", "a~b": {}}, ""),
    ({"$dynamicRef": "#gone"}, "#gone"),
    ({"$dynamicRef": "#here", "$dynamicAnchor": "here"}, ""),
    ({"$ref": "urn:x", "$defs": {"x": {"$id": "urn:x"}}}, ""),
    ({"$ref": "other.json#/x", "$defs": {"x": {"$id": "urn:x"}}}, "other.json#/x"),
    ({"allOf": [{"$ref": "#/gone"}]}, "#/gone"),
    ({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}, ""),
    ({"$ref": 5}, ""),
    *[({key: {"$ref": "#/gone"}}, "") for key in ("const", "enum", "default", "examples")],
]


@pytest.mark.parametrize(("schema", "lost"), REFERENCES)
def test_a_reference_is_followed_within_its_schema_and_never_elsewhere(schema: Json, lost: str) -> None:
    assert lost_reference(schema) == lost


DEEPER: list[Callable[[object], object]] = [lambda inner: {"not": inner}, lambda inner: [inner]]


@pytest.mark.parametrize("nest", DEEPER)
def test_references_are_looked_for_down_to_a_depth(nest: Callable[[object], object]) -> None:
    inner: object = {"$ref": "#/gone"}
    for _ in range(99):
        inner = nest(inner)
    assert lost_reference({"x": inner}) == "#/gone"
    assert lost_reference({"x": nest(inner)}) == ""
