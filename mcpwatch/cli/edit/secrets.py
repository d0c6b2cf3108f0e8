"""Secrets given to a command go into the fleet's env file, and the configuration names them. Pure, but for reading that file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mcpwatch.cli.edit.fleet_file import FleetFile
from mcpwatch.cli.edit.transaction import Edit
from mcpwatch.foreign.variables import read_env
from mcpwatch.model.errors import ConfigError, Fault

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,=-]+")
_BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class Hidden:
    """Where secrets went: `references` by the name they were given under, `values` by variable, the file as it will be.

    `env_file` is what the configuration must name in addition, if anything.
    """

    references: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    edit: Edit | None = field(default=None, repr=False)
    env_file: str | None = None


def hide(file: FleetFile, owner: str, secrets: Mapping[str, str]) -> Hidden:
    """Put `secrets` (of a member called `owner`) into the first `env_file` of the configuration, or into a new `.env` beside it.

    A variable that is there with another value is not touched: ours then carries the member's name. Formats other than
    mcpwatch's know no env file: nothing is hidden there. Raises `ConfigError` when the file cannot be read.
    """
    if not secrets or not file.ours:
        return Hidden()
    named = file.env_files()
    path = named[0] if named else file.path.absolute().parent / ".env"
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else None
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Fault("", f"cannot read it: {getattr(error, 'strerror', None) or 'not UTF-8 text'}", str(path))) from None
    known = dict(read_env(old or "")[0])
    references: dict[str, str] = {}
    fresh: dict[str, str] = {}
    for name, value in secrets.items():
        bare = value.removeprefix(_BEARER)
        variable = _variable(name, owner, bare, known)
        if variable not in known:
            fresh[variable] = known[variable] = bare
        references[name] = (_BEARER if value != bare else "") + f"${{{variable}}}"
    text = (old or "") + ("\n" if old and not old.endswith("\n") else "") + "".join(f"{k}={quoted(v)}\n" for k, v in fresh.items())
    edit = Edit(str(path), old, text, mode) if fresh else None
    return Hidden(references, fresh, edit, None if named or not fresh else path.name)


def _variable(name: str, owner: str, value: str, known: Mapping[str, str]) -> str:
    """A name for a variable of this value: the given one, else with the member's name, else numbered."""
    plain = re.sub(r"\W", "_", name)
    longer = re.sub(r"\W", "_", f"{owner}_{name}").upper()
    candidates = [plain if plain.isupper() else longer, longer, *(f"{longer}_{number}" for number in range(2, 100))]
    return next(item for item in candidates if not item[0].isdigit() and known.get(item, value) == value)


def quoted(value: str) -> str:
    """A value as an env file holds it."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\n" not in value:
        return f"'{value}'"
    body = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{body}"'
