"""Raw values against a pydantic spec, gently: *every* fault is told, and what is left without the faulty values is still built.

Also fills in `NAME_file` secrets: where a spec knows `token`, a user may write `token_file`. Knows no key of the format itself.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from mcpwatch.config.document import Path, Value
from mcpwatch.config.variables import Read
from mcpwatch.registry import suggest

MAX_ROUNDS = 20
"""Times a value is cleaned and tried again; each round removes at least one faulty key."""

_ITEM = re.compile(r"\[(\d+)\]: ")
"""How a spec that is written as a list names the item that is wrong."""

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Findings:
    """Faults by path, secret values met, and the document paths that were read from a `*_file`."""

    faults: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    secrets: set[str] = field(default_factory=set[str])

    def add(self, path: Path, message: str) -> None:
        """Note a fault, once."""
        if (path, message) not in self.faults:
            self.faults.append((path, message))


def validate(model: type[M], raw: Value, path: Path, findings: Findings, read: Read) -> M | None:
    """`raw` (found at `path`) as a `model`; faults go to `findings`. `None` when nothing can be built from what is left."""
    data = _copy(raw)
    _Filler(model, path, findings, read).fill(data)
    pruned: set[Path] = set()
    for _ in range(MAX_ROUNDS):
        try:
            made = model.model_validate(data)
        except ValidationError as error:
            if not _clean(model, data, error, path, pruned, findings):
                return None
        else:
            findings.secrets.update(secrets_in(made))
            return made
    return None


def _is_root(model: type[BaseModel]) -> bool:
    return "root" in model.model_fields and len(model.model_fields) == 1


def _clean(model: type[BaseModel], data: Value, error: ValidationError, path: Path, pruned: set[Path], findings: Findings) -> bool:
    """Tell each fault of this round and remove its value from `data`. False when the root itself is faulty."""
    doomed: set[Path] = set()
    for detail in error.errors(include_url=False, include_input=False):
        where = _inside(data, detail["loc"])
        kind = detail["type"]
        if kind == "missing":
            if where not in pruned:
                findings.add((*path, *where), "is missing")
            doomed.add(where[:-1])
            continue
        message = _told(model, where, dict(detail), _at(data, where))
        item = _ITEM.match(message)
        findings.add((*path, *where, int(item[1])) if item else (*path, *where), message[item.end() :] if item else message)
        doomed.add(where)
    if () in doomed:
        return False
    for where in sorted(doomed, key=lambda spot: tuple((isinstance(step, str), step) for step in spot), reverse=True):
        _drop(data, where)
        pruned.add(where)
    return True


def _told(model: type[BaseModel], where: Path, detail: Mapping[str, Any], found: Value) -> str:
    """The fault in our words: what is wrong and what to write instead."""
    kind, context = str(detail["type"]), cast("dict[str, Any]", detail.get("ctx") or {})
    if kind == "extra_forbidden":
        known = keys_at(model, cast("Path", detail["loc"])[:-1]) or keys_at(model, where[:-1])
        return f"unknown key{suggest(str(where[-1]), known)}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind == "literal_error":
        return f"must be {context['expected']}{_near(found, str(context['expected']))}"
    expected = _EXPECTED.get(kind)
    if expected:
        return f"must be {expected}, not {_called(found)}"
    for name, word in (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most")):
        if name in context:
            return f"must be {word} {context[name]:g}"
    if kind in {"string_too_short", "too_short"}:
        return "must not be empty"
    message = str(detail["msg"])
    return message[:1].lower() + message[1:]


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _called(value: Value) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else "a number" if isinstance(value, (int, float)) else "text"


def _near(found: Value, expected: str) -> str:
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    hint = suggest(found, words) if isinstance(found, str) else ""
    return hint if hint.startswith("; did") else ""


def keys_at(model: Any, path: Path) -> tuple[str, ...]:
    """The keys that a user may write at `path` below `model`; empty when any key may stand there."""
    spec = _spec_at(model, path)
    return keys_of(spec) if spec else ()


def keys_of(spec: type[BaseModel]) -> tuple[str, ...]:
    """The keys that a user may write directly in `spec`."""
    return tuple(info.alias or name for name, info in spec.model_fields.items())


def _spec_at(model: Any, path: Path) -> type[BaseModel] | None:
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


@dataclass(frozen=True, slots=True)
class _Filler:
    """Replaces every `NAME_file` whose spec knows a secret `NAME` (and no `NAME_file`) by the text of that file."""

    model: type[BaseModel]
    path: Path
    findings: Findings
    read: Read

    def fill(self, value: Value, where: Path = ()) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self.fill(item, (*where, index))
        elif isinstance(value, dict):
            spec = _spec_at(self.model, where)
            for key in list(value):
                annotation = _secret_field(spec, key.removesuffix("_file")) if spec and key not in keys_of(spec) else None
                if annotation is None or not key.endswith("_file"):
                    self.fill(value[key], (*where, key))
                elif (secret := self.secret(value, key, (*self.path, *where, key))) is not None:
                    lines = secret.splitlines()
                    value[key.removesuffix("_file")] = cast("Value", lines) if _holds_many(annotation) else secret

    def secret(self, above: dict[str, Value], key: str, path: Path) -> str | None:
        """The text of the file named at `key` (which is removed), each line stripped; `None` with a fault."""
        name, stem = above.pop(key), key.removesuffix("_file")
        if stem in above:
            self.findings.add(path, f"'{stem}' is written too; keep one of them")
            return None
        if not isinstance(name, str) or not name:
            self.findings.add(path, f"must be the path of a file, not {_called(name)}")
            return None
        try:
            text = self.read(name)
        except (OSError, UnicodeDecodeError) as error:
            self.findings.add(path, f"cannot read {name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
            return None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            self.findings.add(path, f"{name} is empty")
            return None
        self.findings.secrets.update(lines)
        return "\n".join(lines)


def _secret_field(spec: type[BaseModel], name: str) -> Any:
    """The annotation of `name` in `spec` when it is a secret or a list of secrets; else `None`."""
    for known, info in spec.model_fields.items():
        if name in {known, info.alias} and SecretStr in _leaves(info.annotation):
            return info.annotation
    return None


def _leaves(annotation: Any) -> set[Any]:
    """The plain types at the ends of an annotation."""
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return {leaf for argument in arguments for leaf in _leaves(argument)} if arguments else {annotation}


def _holds_many(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Annotated, Union, types.UnionType):
        return any(_holds_many(argument) for argument in get_args(annotation))
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


def _copy(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _inside(data: Value, loc: tuple[int | str, ...]) -> Path:
    """The part of a pydantic location that is really in the document: union tags and `[key]` marks are no place."""
    path: list[str | int] = []
    at: Value = data
    for index, step in enumerate(loc):
        if isinstance(step, str) and isinstance(at, dict):
            if step not in at and index < len(loc) - 1:
                continue
            path.append(step)
            at = at.get(step)
        elif isinstance(step, int) and isinstance(at, list) and step < len(at):
            path.append(step)
            at = at[step]
    return tuple(path)


def _at(data: Value, path: Path) -> Value:
    for step in path:
        if isinstance(data, dict) and isinstance(step, str):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
    return data


def _drop(data: Value, path: Path) -> None:
    above = _at(data, path[:-1])
    step = path[-1]
    if isinstance(above, dict) and isinstance(step, str):
        above.pop(step, None)
    elif isinstance(above, list) and isinstance(step, int) and step < len(above):
        del above[step]
        if not above and len(path) > 1:
            _drop(data, path[:-1])
