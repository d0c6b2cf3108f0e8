"""What a change of a JSON Schema means to those who use it: tighter, looser, or only other words. Pure.

Input schemas are judged for callers: what they could send yesterday must be taken today. Output schemas for readers: what
they could rely on yesterday must still come. Whatever cannot be judged counts as breaking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

Direction = Literal["input", "output"]
Turn = Literal["tightened", "loosened", "description"]
Severity = Literal["breaking", "compatible", "description"]
Verdict = tuple[Turn, Severity, str]

DEPTH_MAX = 24
"""Levels of nesting that are compared; below, any difference is breaking."""
WORDS = frozenset(
    {"title", "description", "examples", "example", "$comment", "deprecated", "markdownDescription", "default", "x-mcp-header"}
)
"""Keys that restrict nothing."""
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_PLAIN = frozenset(
    {"properties", "required", "type", "enum", "items", "additionalProperties", "$defs", "definitions", *_LOWER, *_UPPER}
)
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")

Schema = dict[str, Any]


def compare(old: object, new: object, direction: Direction) -> list[Verdict]:
    """What changed from one schema to the other: `(turn, severity, detail)` each; nothing when they mean the same."""
    if old == new:
        return []
    if old is None or new is None:
        turn: Turn = "tightened" if old is None else "loosened"
        return [_verdict(turn, direction, f"the {direction} schema is {'new' if old is None else 'gone'}")]
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [_verdict("tightened", direction, f"the {direction} schema changed", broken=True)]
    return _Comparison(cast("Schema", old), cast("Schema", new), direction).run()


def _verdict(turn: Turn, direction: Direction, detail: str, *, broken: bool = False) -> Verdict:
    if turn == "description":
        return turn, "description", detail
    bad: Turn = "tightened" if direction == "input" else "loosened"
    return turn, "breaking" if turn == bad or broken else "compatible", detail


class _Comparison:
    """One walk through two schemas, side by side."""

    def __init__(self, old: Schema, new: Schema, direction: Direction) -> None:
        self._roots = (old, new)
        self._direction: Direction = direction
        self._found: list[Verdict] = []
        self._walked: set[tuple[int, int]] = set()

    def run(self) -> list[Verdict]:
        self._walk(self._roots[0], self._roots[1], "", 0)
        if not self._found:
            # equal in meaning, as far as is known, but not in text
            self._add("description", "", "its wording changed")
        return self._found

    def _add(self, turn: Turn, where: str, what: str, *, broken: bool = False) -> None:
        place = f"{where} " if where else ""
        self._found.append(_verdict(turn, self._direction, f"{place}{what}", broken=broken))

    def _walk(self, old: Any, new: Any, where: str, depth: int) -> None:
        old, new = self._resolved(old, 0), self._resolved(new, 1)
        if depth > DEPTH_MAX or not isinstance(old, dict) or not isinstance(new, dict):
            self._whole(old, new, where)
            return
        before, after = cast("Schema", old), cast("Schema", new)
        if (id(before), id(after)) in self._walked:  # a schema that refers to itself
            return
        self._walked.add((id(before), id(after)))
        self._types(before, after, where)
        self._enums(before, after, where)
        self._bounds(before, after, where)
        self._properties(before, after, where, depth)
        if "items" in before or "items" in after:
            self._walk(before.get("items", True), after.get("items", True), f"{where}[]", depth + 1)
        self._others(before, after, where)
        if any(before.get(key) != after.get(key) for key in WORDS):
            self._add("description", where, "is described in other words")

    def _whole(self, old: Any, new: Any, where: str) -> None:
        if old == new:
            return
        if _anything(new) and not _anything(old):
            self._add("loosened", where, "takes anything now")
        elif _anything(old) or new is False:
            self._add("tightened", where, "is restricted now")
        else:
            self._add("tightened", where, "changed", broken=True)

    def _resolved(self, schema: Any, side: int) -> Any:
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, dict):
                return schema
            told = cast("Schema", schema)
            reference = told.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#/"):
                return told
            target: Any = self._roots[side]
            for step in reference[2:].split("/"):
                target = cast("Schema", target).get(step) if isinstance(target, dict) else None
            if target is None:
                return told
            schema = target
        return None

    def _types(self, old: Schema, new: Schema, where: str) -> None:
        before, after = _types(old), _types(new)
        if before == after:
            return
        shown = f"takes {_named(after)} instead of {_named(before)}"
        if before < after:
            self._add("loosened", where, shown)
        else:
            self._add("tightened", where, shown, broken=not after < before)

    def _enums(self, old: Schema, new: Schema, where: str) -> None:
        before, after = _choices(old), _choices(new)
        if before == after:
            return
        if before is None or (after is not None and after < before):
            self._add("tightened", where, "takes fewer values")
        elif after is None or before < after:
            self._add("loosened", where, "takes more values")
        else:
            self._add("tightened", where, "takes other values", broken=True)

    def _bounds(self, old: Schema, new: Schema, where: str) -> None:
        stricter: tuple[tuple[tuple[str, ...], Callable[[float, float], bool]], ...] = (
            (_LOWER, lambda a, b: b > a),
            (_UPPER, lambda a, b: b < a),
        )
        for keys, tighter in stricter:
            for key in keys:
                a, b = old.get(key), new.get(key)
                if a == b:
                    continue
                if b is None:
                    self._add("loosened", where, f"has no {key} any more")
                elif a is None or not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or tighter(a, b):
                    self._add("tightened", where, f"has {key} {b} instead of {a}")
                else:
                    self._add("loosened", where, f"has {key} {b} instead of {a}")

    def _properties(self, old: Schema, new: Schema, where: str, depth: int) -> None:
        before, after = _mapping(old.get("properties")), _mapping(new.get("properties"))
        needed_before, needed_after = _names(old.get("required")), _names(new.get("required"))
        for name in sorted(before.keys() | after.keys()):
            place = f"{where}.{name}" if where else f"'{name}'"
            if name not in after:
                self._add("tightened" if self._direction == "input" else "loosened", place, "is gone")
                continue
            if name not in before:
                needed = name in needed_after
                turn: Turn = "loosened" if (self._direction == "input") != needed else "tightened"
                self._add(turn, place, "is new and required" if needed else "is new")
                continue
            if name in needed_after and name not in needed_before:
                self._add("tightened", place, "is now required")
            elif name in needed_before and name not in needed_after:
                self._add("loosened", place, "is no longer required")
            self._walk(before[name], after[name], place, depth + 1)
        a, b = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                self._walk(a, b, f"{where}.*" if where else "other properties", depth + 1)
            else:
                self._whole(a, b, f"{where}.*" if where else "other properties")

    def _others(self, old: Schema, new: Schema, where: str) -> None:
        for key in sorted((old.keys() | new.keys()) - _PLAIN - WORDS - {"$schema", "$id", "$ref", "const"}):
            a, b = old.get(key), new.get(key)
            if a == b:
                continue
            if a is None:
                self._add("tightened", where, f"has a {key} now")
            elif b is None:
                self._add("loosened", where, f"has no {key} any more")
            else:
                self._add("tightened", where, f"has another {key}", broken=True)


def _anything(schema: object) -> bool:
    return schema is True or schema == {}


def _types(schema: Schema) -> frozenset[str]:
    told = schema.get("type")
    names = (
        {told}
        if isinstance(told, str)
        else {str(name) for name in cast("list[Any]", told)}
        if isinstance(told, list)
        else set(_TYPES)
    )
    return frozenset(names | {"integer"} if "number" in names else names)


def _named(types: frozenset[str]) -> str:
    if types >= set(_TYPES):
        return "anything"
    return " or ".join(sorted(types - {"integer"} if "number" in types else types)) or "nothing"


def _choices(schema: Schema) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset({repr(schema["const"])})
    told = schema.get("enum")
    return frozenset(repr(choice) for choice in cast("list[Any]", told)) if isinstance(told, list) else None


def _mapping(value: object) -> Schema:
    return cast("Schema", value) if isinstance(value, dict) else {}


def _names(value: object) -> frozenset[str]:
    return frozenset(str(name) for name in cast("list[Any]", value)) if isinstance(value, list) else frozenset()
