"""Walking pydantic specs: which keys stand where, and which of them are secrets. Knows no key of the format."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr

from mcpwatch.foreign.document import Path
from mcpwatch.foreign.variables import MIN_SECRET, secret_name


def keys_at(model: Any, path: Path) -> tuple[str, ...]:
    """The keys that a user may write at `path` below `model`; empty when any key may stand there."""
    spec = spec_at(model, path)
    return keys_of(spec) if spec else ()


def keys_of(spec: type[BaseModel]) -> tuple[str, ...]:
    """The keys that a user may write directly in `spec`."""
    return tuple(info.alias or name for name, info in spec.model_fields.items())


def spec_at(model: Any, path: Path) -> type[BaseModel] | None:
    """The one pydantic spec that describes what stands at `path`, when there is exactly one."""
    found: list[Any] = [model]
    for step in path:
        found = [below for annotation in found for below in _below(annotation, step)]
    specs = [spec for annotation in found for spec in _plain(annotation) if isinstance(spec, type) and issubclass(spec, BaseModel)]
    return specs[0] if len(specs) == 1 else None


def _below(annotation: Any, step: str | int) -> list[Any]:
    """What may stand at `step` inside a value of this annotation."""
    made: list[Any] = []
    for plain in _plain(annotation):
        origin, arguments = get_origin(plain), get_args(plain)
        if isinstance(plain, type) and issubclass(plain, BaseModel):
            made += [info.annotation for name, info in plain.model_fields.items() if step in {name, info.alias}]
            if not made and "kind" in plain.model_fields and step in get_args(plain.model_fields["kind"].annotation):
                made.append(plain)  # the tag of a union by kind, which pydantic counts as a step
            if isinstance(step, int) and _is_root(plain):
                made += _below(plain.model_fields["root"].annotation, step)
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            made.append(arguments[1])
        elif isinstance(step, int):
            made += [argument for argument in arguments if argument is not Ellipsis]
    return made


def _plain(annotation: Any) -> list[Any]:
    """An annotation without Annotated, Optional and unions: the alternatives left."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [plain for argument in get_args(annotation) for plain in _plain(argument)]
    return [annotation]


def secret_field(spec: type[BaseModel], name: str) -> Any:
    """The annotation of `name` in `spec` when it is a secret or a list of secrets; else `None`."""
    for known, info in spec.model_fields.items():
        if name in {known, info.alias} and SecretStr in _leaves(info.annotation):
            return info.annotation
    return None


def _leaves(annotation: Any) -> set[Any]:
    """The plain types at the ends of an annotation."""
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return {leaf for argument in arguments for leaf in _leaves(argument)} if arguments else {annotation}


def holds_many(annotation: Any) -> bool:
    """Whether it is a list of something."""
    origin = get_origin(annotation)
    if origin in (Annotated, Union, types.UnionType):
        return any(holds_many(argument) for argument in get_args(annotation))
    return origin in (tuple, list, set, frozenset)


def secrets_in(value: object) -> set[str]:
    """Every secret value inside a spec, however deep."""
    if isinstance(value, SecretStr):
        return {value.get_secret_value()} - {""}
    if isinstance(value, BaseModel):
        return {secret for item in dict(value).values() for secret in secrets_in(item)}
    if isinstance(value, Mapping):
        return {secret for item in cast("Mapping[object, object]", value).values() for secret in secrets_in(item)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return {secret for item in cast("tuple[object, ...]", value) for secret in secrets_in(item)}
    return set()


def _is_root(model: type[BaseModel]) -> bool:
    return "root" in model.model_fields and len(model.model_fields) == 1


def named_secrets(value: object) -> set[str]:
    """The values inside a spec that are secret by their name: environments, headers."""
    if isinstance(value, BaseModel):
        return named_secrets(dict(value))
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if isinstance(item, str) and len(item) >= MIN_SECRET and secret_name(str(key)):
                found |= {item, item.removeprefix("Bearer ")}
            else:
                found |= named_secrets(item)
    return found


def unwrapped(value: object) -> object:
    """A spec as plain values with its secrets readable, for hashing only."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: unwrapped(item) for name, item in value}
    if isinstance(value, Mapping):
        return {str(key): unwrapped(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [unwrapped(item) for item in cast("list[object]", value)]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
