"""Small changes to a user's YAML file that keep every comment, the order and the quotes. Text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcpwatch.config import yaml
from mcpwatch.foreign.document import Path, spell
from mcpwatch.model.errors import ConfigError, Fault


def put(text: str, path: Path, value: object) -> str:
    """`text` with `value` at `path`; mappings on the way are made. Raises `ConfigError` when something else is in the way."""
    tree, indent = yaml.edit(text)
    tree = yaml.empty() if tree is None else tree
    at: Any = tree
    for depth, step in enumerate(path[:-1]):
        below = _step(at, step, path[: depth + 1])
        if below is None:
            if not isinstance(at, dict):
                raise ConfigError(Fault(spell(path[: depth + 1]), "there is no such item in the list"))
            at[step] = below = yaml.empty()
        at = below
    _step(at, path[-1], path)
    at[path[-1]] = value
    return yaml.dump(tree, indent)


def add_members(text: str, members: Mapping[str, object]) -> str:
    """`text` with these members added. Raises `ConfigError` when one of that name is there already."""
    tree, _ = yaml.edit(text)
    present = _step(tree, "members", ("members",)) if tree is not None else None
    taken = [name for name in members if present is not None and _step(present, name, ("members", name)) is not None]
    if taken:
        raise ConfigError(*(Fault(spell(("members", name)), "is there already; nothing was changed") for name in taken))
    for name, member in members.items():
        text = put(text, ("members", name), member)
    return text


def _step(at: Any, step: str | int, path: Path) -> Any:
    if isinstance(at, dict):
        return at.get(step)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(at, list) and isinstance(step, int):
        return at[step] if -len(at) <= step < len(at) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise ConfigError(Fault(spell(path), "is not a mapping; nothing was changed"))
