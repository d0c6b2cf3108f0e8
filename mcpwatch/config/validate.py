"""Raw values against a pydantic spec, gently: *every* fault is told, and what is left without the faulty values is still built.

Also fills in `NAME_file` secrets: where a spec knows `token`, a user may write `token_file`. Knows no key of the format itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from mcpwatch.config.specs import holds_many, keys_at, keys_of, secret_field, secrets_in, spec_at
from mcpwatch.foreign.document import Path, Value
from mcpwatch.foreign.variables import Read
from mcpwatch.model.errors import suggest

MAX_ROUNDS = 20
"""Times a value is cleaned and tried again; each round removes at least one faulty key."""

_ITEM = re.compile(r"\[(\d+)\]: ")
"""How a spec that is written as a list names the item that is wrong."""

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class ConfigFindings:
    """Faults by path, secret values met, and the files that `*_file` keys name."""

    faults: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    secrets: set[str] = field(default_factory=set[str])
    files: set[str] = field(default_factory=set[str])

    def add(self, path: Path, message: str) -> None:
        """Note a fault, once."""
        if (path, message) not in self.faults:
            self.faults.append((path, message))


def validate(model: type[M], raw: Value, path: Path, findings: ConfigFindings, read: Read) -> M | None:
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


def _clean(
    model: type[BaseModel], data: Value, error: ValidationError, path: Path, pruned: set[Path], findings: ConfigFindings
) -> bool:
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
    "path_type": "a path",
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


@dataclass(frozen=True, slots=True)
class _Filler:
    """Replaces every `NAME_file` whose spec knows a secret `NAME` (and no `NAME_file`) by the text of that file."""

    model: type[BaseModel]
    path: Path
    findings: ConfigFindings
    read: Read

    def fill(self, value: Value, where: Path = ()) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self.fill(item, (*where, index))
        elif isinstance(value, dict):
            spec = spec_at(self.model, where)
            for key in list(value):
                annotation = secret_field(spec, key.removesuffix("_file")) if spec and key not in keys_of(spec) else None
                if annotation is None or not key.endswith("_file"):
                    self.fill(value[key], (*where, key))
                elif (secret := self.secret(value, key, (*self.path, *where, key))) is not None:
                    lines = secret.splitlines()
                    value[key.removesuffix("_file")] = cast("Value", lines) if holds_many(annotation) else secret

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
        self.findings.files.add(name)
        return "\n".join(lines)


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
