"""Which AI clients this machine has, and the lines of configuration that would take them in. Shell, reads only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcpwatch.clients.adapter import Adapter
from mcpwatch.clients.catalog import CLIENTS, made
from mcpwatch.clients.location import Machine


@dataclass(frozen=True, slots=True)
class Detected:
    """One client that is (or was) here: its file, whether it exists yet, and the YAML line that adds it."""

    kind: str
    title: str
    scope: str
    path: Path
    exists: bool
    yaml: str
    note: str = ""


def detect(machine: Machine) -> tuple[Detected, ...]:
    """Every client whose file, or whose own directory, is there. Projects and clients without a fixed place are not found."""
    found: list[Detected] = []
    for kind in CLIENTS:
        adapter: Adapter = kind.make(None).adapter
        for scope in adapter.places:
            if scope in ("project", "api", "system") or "path" in _required(kind.spec):
                continue
            path = machine.locate(made({"kind": kind.name, "scope": scope}))
            if path.exists() or _own_directory(path.parent, machine.home):
                literal = "" if adapter.reference else ", allow_literal: true"
                yaml = f"- {{kind: {kind.name}{'' if scope == 'user' else f', scope: {scope}'}{literal}}}"
                found.append(Detected(kind.name, adapter.title, scope, path, path.exists(), yaml, adapter.places[scope].note))
    return tuple(found)


def _required(spec: type) -> set[str]:
    fields = getattr(spec, "model_fields", {})
    return {name for name, field in fields.items() if field.is_required()}


def _own_directory(directory: Path, home: Path) -> bool:
    """Whether the directory is there and the client's alone."""
    shared = {home, home / ".config", home / ".config" / "claude", Path("/etc")}
    return directory not in shared and directory.is_dir()
