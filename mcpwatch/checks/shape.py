"""JSONPath and JSON Schema on a canary's result: the one place of python-jsonpath and jsonschema for expectations. Pure."""

from __future__ import annotations

import json
from typing import Any

from mcpwatch.checks.failure import REASON_MAX, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.model.probe import Expect


def unlike(expect: Expect, result: Message, text: str) -> str:
    """Why a result is not of the expected shape, or the empty string.

    What is looked at: `structuredContent`, else the text of the result where it is JSON, else the whole result.
    """
    value = _value(result, text)
    if expect.jsonpath is not None:
        reason = _unselected(expect.jsonpath, value)
        if reason:
            return reason
    return _invalid(expect.json_schema, value) if expect.json_schema is not None else ""


def _value(result: Message, text: str) -> Any:
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return result


def _unselected(path: str, value: Any) -> str:
    import jsonpath

    try:  # a text is taken for a document by the library, and may be none
        found = jsonpath.findall(path, json.dumps(value) if isinstance(value, str) else value)
    except (jsonpath.JSONPathError, RecursionError) as error:
        return f"cannot be looked at: {one_line(str(error), REASON_MAX)}"
    return "" if found else f"has nothing at {path}"


def _invalid(schema: str, value: Any) -> str:
    import jsonschema

    try:
        jsonschema.validate(value, json.loads(schema))
    except jsonschema.ValidationError as error:
        where = "/".join(str(step) for step in error.absolute_path)
        return f"does not satisfy its schema{f' at {where}' if where else ''}: {one_line(error.message, REASON_MAX)}"
    except (jsonschema.SchemaError, ValueError) as error:
        return f"cannot be checked, the expected schema is broken: {one_line(str(error), REASON_MAX)}"
    return ""
