"""The OpenAPI 3.1 document of the API, made from the catalog. `make docs` writes it beside this file; the daemon serves that."""

from __future__ import annotations

import re
from typing import Any, cast

from mcpwatch.web.api.answer_shapes import answer_shapes
from mcpwatch.web.api.catalog import CATALOG, Operation
from mcpwatch.web.api.shapes import lifted
from mcpwatch.web.problems import MEDIA, TYPES

REFUSALS = (400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 503)
Schema = dict[str, Any]


def document() -> Schema:
    """The whole document."""
    paths: dict[str, Schema] = {}
    shapes, found = answer_shapes(), dict[str, Schema]()
    for operation in CATALOG:
        answer = lifted(shapes.get(operation.key, operation.answer), found)
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mcpwatch",
            "version": "1",
            "summary": "Everything the command line of mcpwatch can see and do.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api/v1", "description": "web.listen; the control socket serves the same paths at /"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "One of web.tokens. Loopback may read without."}
            },
            "schemas": {"Problem": _problem(), **dict(sorted(found.items()))},
            "responses": {
                str(status): {
                    "description": TYPES[status][1],
                    "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
                for status in REFUSALS
            },
        },
    }


def _problem() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457, with `error` (the same as `detail`) and, for a refused configuration, `faults`.",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "error": text,
            "faults": {"type": "array", "items": text},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _operation(operation: Operation, answer: Schema) -> Schema:
    content: Schema = {
        media: {"schema": answer if media == "application/json" else {"type": "string"}} for media in operation.media
    }
    made: Schema = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": f"Role: `{operation.role}`.",
        "responses": {
            "200": {"description": "Done.", "content": content},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in REFUSALS},
        },
    }
    if parameters := [*_path_parameters(operation), *_query_parameters(operation)]:
        made["parameters"] = parameters
    if operation.body is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": _inline(operation.body.model_json_schema())}}}
    return made


def _path_parameters(operation: Operation) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": ["start", "stop", "restart"]}
            if name == "verb"
            else {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[Schema]:
    if operation.query is None:
        return []
    found = _inline(operation.query.model_json_schema())
    return [
        {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": _not_null(schema)}
        for name, schema in cast("dict[str, Schema]", found["properties"]).items()
    ]


def _inline(schema: Schema) -> Schema:
    """Without generated titles."""
    return cast("Schema", _untitled(schema))


def _untitled(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        return {key: _untitled(item) for key, item in pairs.items() if not (key == "title" and isinstance(item, str))}
    if isinstance(value, list):
        return [_untitled(item) for item in cast("list[Any]", value)]
    return value


def _not_null(schema: Schema) -> Schema:
    """A query has no null: what may be null is what may be left out."""
    choices = [one for one in cast("list[Schema]", schema.get("anyOf", [])) if one.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default") or value is not None}
    if len(choices) == 1:
        rest.pop("anyOf", None)
        return {**choices[0], **rest}
    return rest
