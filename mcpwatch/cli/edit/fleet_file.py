"""The configuration file that a command edits: where it is, which format it has, and its text before and after. Opens one file.

Edits are by text span (`clients.formats`): every comment, quote and blank of the rest stays, and each edit is proved by parsing
the result. Must not know the daemon.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from mcpwatch.app.kinds import all_kinds
from mcpwatch.clients.formats import edit as span_edit
from mcpwatch.clients.formats.edit import DROP
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import EditRefused, Step, Syntax
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.config.load import document_of, load, load_plan
from mcpwatch.foreign.dialects import Dialect, convert, detect
from mcpwatch.foreign.document import spell
from mcpwatch.model.errors import ConfigError, Fault, UsageError, suggest
from mcpwatch.model.spec import Plan

FIRST = """\
# The fleet that mcpwatch keeps alive. Run it with 'mcpwatch up'; servers come and go by 'mcpwatch add' and 'mcpwatch remove'.
version: 1

proxy:
  listen: 127.0.0.1:9090            # every member answers at http://127.0.0.1:9090/<name>/sse and /<name>/mcp

members: {}
"""
"""The text of a fleet that has no member yet."""

Changes = dict[tuple[Step, ...], Any]
"""Values to put by path; `REMOVED` takes a key out."""

REMOVED = DROP
"""The value that means: this key goes."""


@dataclass(frozen=True)
class FleetFile:
    """A configuration file at one moment. `text` is what it holds, exactly; `path` what the user named."""

    path: Path
    text: str
    dialect: Dialect
    syntax: Syntax
    mode: int
    there: bool = True
    """Whether the file exists: one that is still to be made holds `FIRST`."""

    @property
    def box(self) -> tuple[str, ...]:
        """The path under which the members stand."""
        return ("members",) if self.ours else self.dialect.servers

    @property
    def ours(self) -> bool:
        """Whether it is in mcpwatch's own format."""
        return self.dialect.name == "mcpwatch"

    @cached_property
    def document(self) -> dict[str, Any]:
        """The file as plain values, as `up` reads it; read once, never changed. Raises `ConfigError` for unreadable text."""
        found = document_of(self.path, self.text).data
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    @property
    def members(self) -> dict[str, Any]:
        """The members as written, by name."""
        found: Any = self.document
        for step in self.box:
            found = cast("dict[str, Any]", found).get(step) if isinstance(found, dict) else None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def member(self, name: str) -> dict[str, Any]:
        """One member as written. Raises `UsageError` for an unknown name."""
        found = self.members.get(name)
        if name not in self.members:
            raise UsageError(f"{self.path}: no member '{name}'{suggest(name, self.members)}")
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def as_ours(self, name: str) -> dict[str, Any]:
        """One member in mcpwatch's own format, whatever the format of the file. Raises `ConfigError`."""
        if self.ours:
            return self.member(name)
        faults: list[Fault] = []
        one: Any = _put(self.document, self.box, {name: self.member(name)})
        whole: Any = convert(one, self.dialect, lambda where, message: faults.append(Fault(spell(where), message, str(self.path))))
        if faults:
            raise ConfigError(*faults)
        return whole["members"][name]

    def with_changes(self, changes: Mapping[tuple[Step, ...], Any]) -> FleetFile:
        """The file with values put or, for `REMOVED`, dropped at these paths. Raises `ConfigError`; nothing is written."""
        mark, text = ("\ufeff", self.text[1:]) if self.text.startswith("\ufeff") else ("", self.text)
        changed = dict(changes)
        for path in list(changed):  # the first member of an empty mapping: written in block style, not inside the braces
            if path[:-1] == self.box and not self.members and changed[path] is not REMOVED:
                changed[self.box] = {**changed.get(self.box, {}), str(path[-1]): changed.pop(path)}
        try:
            made = span_edit.edit(self.syntax, text, changed).text
        except EditRefused as refusal:
            raise ConfigError(Fault("", f"{refusal}; it was left as it is: edit it by hand", str(self.path))) from None
        return replace(self, text=mark + made)

    def renamed(self, old: str, new: str) -> FleetFile:
        """The file with the key of one member renamed in its place. Raises `ConfigError` when that cannot be proved."""
        wanted = _put(self.document, self.box, {new if name == old else name: value for name, value in self.members.items()})
        line = self._line(old)
        key = re.compile(rf"""(?<![\w.-])(["']?){re.escape(old)}\1(?=\s*:)""")
        hits = sorted(key.finditer(self.text), key=lambda hit: abs(self.text.count("\n", 0, hit.start()) + 1 - line))
        spelled = new if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", new) else f'"{new}"'
        for hit in hits[:50]:
            quote = hit[1]
            text = self.text[: hit.start()] + (f"{quote}{new}{quote}" if quote else spelled) + self.text[hit.end() :]
            made = replace(self, text=text)
            try:
                if span_edit.same(made.document, wanted):
                    return made
            except ConfigError:
                continue
        raise ConfigError(Fault("", f"the name '{old}' could not be changed safely; edit it by hand", str(self.path)))

    def _line(self, name: str) -> int:
        return document_of(self.path, self.text).line((*self.box, name)) or 1

    def plan(self, state_dir: Path, values: Mapping[str, str] | None = None) -> Plan:
        """The plan of this text; `values` are variables that an `env_file` will hold. Raises `ConfigError` with every fault."""
        coming = values and not all(path.exists() for path in self.env_files())
        text = self.with_changes({("env_file",): REMOVED}).text if coming else self.text
        return load_plan(self.path, all_kinds(), {**(values or {}), **os.environ}, state_dir, text=text)

    def faults(self) -> tuple[Fault, ...]:
        """Every fault that this text has on any machine."""
        return load(self.path, all_kinds(), os.environ, text=self.text, anywhere=True).faults

    def fault_of(self, name: str, faults: Iterable[Fault]) -> str:
        """The first of these that a member has, or the empty string."""
        place = spell((*self.box, name))
        return next((fault.message for fault in faults if _within(fault.path, place)), "")

    def env_files(self) -> list[Path]:
        """The `env_file`s it names, absolute."""
        written: str | list[str] = self.document.get("env_file") or []
        return [self.path.absolute().parent / name for name in ([written] if isinstance(written, str) else written)]


def _within(path: str, place: str) -> bool:
    return path.startswith(place) and path[len(place) : len(place) + 1] in ("", ".", "[")


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """`document` with `value` at `path`, in the place of what was there."""
    inside = value if len(path) == 1 else _put(cast("dict[str, Any]", document[path[0]]), path[1:], value)
    return {**document, path[0]: inside}


def read_fleet_file(path: Path, *, begin: bool = False) -> FleetFile:
    """The file at `path`; with `begin`, an empty fleet in YAML where there is none. Raises `ConfigError` when it cannot be read."""
    if begin and path.suffix.lower() in (".yaml", ".yml") and not path.exists() and not path.is_symlink():
        return FleetFile(path, FIRST, detect(document_of(path, FIRST).data), Yaml(), 0o600, there=False)
    try:
        text, mode = path.read_bytes().decode("utf-8"), path.stat().st_mode & 0o777
    except OSError as error:
        raise ConfigError(Fault("", f"cannot read it: {error.strerror}", str(path))) from None
    except UnicodeDecodeError:
        raise ConfigError(Fault("", "is not UTF-8 text", str(path))) from None
    bare = text.removeprefix("\ufeff")
    looks_json = path.suffix.lower() == ".json" or bare.lstrip(" \t\r\n").startswith("{")
    syntax: Syntax = Jsonc(strict=True) if looks_json else Yaml()
    return FleetFile(path, text, detect(document_of(path, text).data), syntax, mode)
