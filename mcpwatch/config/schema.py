"""The JSON Schema of the file, composed from the models here and the specs of every kind, so that editors complete all of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, cast, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mcpwatch.config.models import CheckConfig, FileConfig, MemberConfig, ProxyConfig
from mcpwatch.config.parse import runtime_keys
from mcpwatch.registry import Kind, Kinds, KindSpec

Schema = dict[str, Any]
TITLE = "mcpwatch configuration"
CHECKS: Schema = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#/$defs/Check"}, {"const": False}]}},
        {"type": "array", "items": {"$ref": "#/$defs/Check"}},
    ],
    "description": "Its checks, by name or as a list. Without an `mcp` check of its own a member gets one.",
}


def schema(kinds: Kinds) -> Schema:
    """The JSON Schema (2020-12) of a configuration file, for these kinds."""
    every = (*kinds.checks, *kinds.runtimes, *kinds.proxies)
    models: list[type[BaseModel]] = [FileConfig, MemberConfig, ProxyConfig, CheckConfig]
    models += [kind.spec for kind in every] + [spec for _, spec in kinds.sections]
    unique = list(dict.fromkeys(models))
    refs, bundle = models_json_schema([(model, "validation") for model in unique], ref_template="#/$defs/{model}")
    defs = cast("dict[str, Schema]", bundle["$defs"])
    names = {model: refs[model, "validation"]["$ref"].rpartition("/")[2] for model in unique}
    _describe(defs, unique)
    for definition in defs.values():
        _polish(definition)
    check = _with_kinds(defs[names[CheckConfig]], [defs[names[kind.spec]] for kind in kinds.checks], kinds.checks)
    carried = {
        name: {"$ref": f"#/$defs/{names[kind.spec]}"}
        for name in runtime_keys(kinds)
        for kind in kinds.runtimes
        if kind.name == name
    }
    member = _more(defs[names[MemberConfig]], {**carried, "checks": CHECKS})
    proxy = _with_kinds(defs[names[ProxyConfig]], [defs[names[kind.spec]] for kind in kinds.proxies], kinds.proxies, also=("none",))
    proxy = _more(proxy, {**carried, "checks": CHECKS})
    top = _more(defs[names[FileConfig]], {
        "proxy": {"anyOf": [{"$ref": "#/$defs/Proxy"}, {"const": False}], "description": "Default: the gateway."},
        "members": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Member"}, "description": "The members, by name."},
        **{room: _section(room, names[spec], defs) for room, spec in kinds.sections},
    })  # fmt: skip
    kept = {
        name: value
        for name, value in defs.items()
        if name not in {names[m] for m in (FileConfig, MemberConfig, ProxyConfig, CheckConfig)}
    }
    kept |= {"Member": member, "Proxy": proxy, "Check": check}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE}
    return {**head, **top, "patternProperties": {"^x-": {}}, "$defs": _reachable({**top, "$defs": kept})}


def _section(room: str, name: str, defs: Mapping[str, Schema]) -> Schema:
    """A room's section; one whose only key is its own name is written as the bare list (`clients`)."""
    properties = cast("dict[str, Schema]", defs[name].get("properties", {}))
    if set(properties) == {room}:
        return {**properties[room], "description": defs[name].get("description", "")}
    if defs[name].pop("x-switch", False):
        return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "boolean"}], "description": defs[name].get("description", "")}
    return {"$ref": f"#/$defs/{name}", "description": defs[name].get("description", "")}


def _with_kinds(base: Schema, specs: list[Schema], kinds: tuple[Kind[Any], ...], also: tuple[str, ...] = ()) -> Schema:
    """A spec that also takes the keys of all its kinds."""
    made = _more(base, {})
    own = set(made["properties"])
    for spec in specs:
        for key, value in cast("dict[str, Schema]", spec.get("properties", {})).items():
            if key not in own:
                known = made["properties"].get(key)
                made["properties"][key] = value if known in (None, value) else {"anyOf": [known, value]}
    made["properties"]["kind"] = {**made["properties"]["kind"], "enum": [*(kind.name for kind in kinds), *also]}
    return made


def _more(base: Schema, properties: Mapping[str, Schema]) -> Schema:
    return {**base, "properties": {**base.get("properties", {}), **properties}}


def _polish(definition: Schema) -> None:
    """Without generated titles, and with a `NAME_file` beside every secret NAME."""
    definition.pop("title", None)
    properties = cast("dict[str, Schema]", definition.get("properties", {}))
    for name, value in list(properties.items()):
        value.pop("title", None)
        if _secret(value) and f"{name}_file" not in properties:
            properties[f"{name}_file"] = {"type": "string", "description": f"Path of a file that holds `{name}`."}
            if name in definition.get("required", []):
                definition["required"].remove(name)
                definition.setdefault("allOf", []).append({"anyOf": [{"required": [name]}, {"required": [f"{name}_file"]}]})


def _secret(value: Schema) -> bool:
    inner = [value, value.get("items", {}), *value.get("anyOf", [])]
    return any(item.get("format") == "password" for item in inner)


def _describe(defs: dict[str, Schema], models: Iterable[type[BaseModel]]) -> None:
    """Where a field has no description but a docstring below it, that is its description."""
    for model in _nested(models):
        definition = defs.get(model.__name__)
        for name, words in docstrings(model).items():
            field = definition.get("properties", {}).get(name) if definition else None
            if field is not None:
                field.setdefault("description", words)


def _nested(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """The models and every spec named in their fields."""
    found: dict[type[BaseModel], None] = {}

    def visit(annotation: Any) -> None:
        spec: type[BaseModel] | None = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        if spec is not None and spec not in found:
            found[spec] = None
            for info in spec.model_fields.values():
                visit(info.annotation)
        for argument in get_args(annotation):
            visit(argument)

    for model in models:
        visit(model)
    return list(found)


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The text that stands below a field in the source, by field; empty when there is no source."""
    found: dict[str, str] = {}
    for owner in model.__mro__:
        if owner in {BaseModel, KindSpec, object} or not issubclass(owner, BaseModel):
            continue
        found = {**_own_docstrings(owner), **found}
    return found


@cache
def _own_docstrings(owner: type[BaseModel]) -> Mapping[str, str]:
    """Those in the class itself: the source of a class is found by reading its whole file."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    for field, below in pairwise(cast("ast.ClassDef", tree.body[0]).body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            words = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(words, str):
                found[field.target.id] = " ".join(words.split())
    return found


def _reachable(document: Schema) -> dict[str, Schema]:
    """The definitions that are really used."""
    defs = cast("dict[str, Schema]", document["$defs"])
    used: set[str] = set()

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                if key == "$ref" and isinstance(item, str):
                    name = item.rpartition("/")[2]
                    if name not in used and name in defs:
                        used.add(name)
                        visit(defs[name])
                elif key != "$defs":
                    visit(item)
        elif isinstance(value, list):
            for item in cast("list[Any]", value):
                visit(item)

    visit(document)
    return {name: defs[name] for name in sorted(used)}
