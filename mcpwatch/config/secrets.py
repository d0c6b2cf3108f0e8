"""Values that are secret by the name they stand under, and specs as plain values for hashing. Shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel, SecretStr

from mcpwatch.foreign.variables import MIN_SECRET, secret_name


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
