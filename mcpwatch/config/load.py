"""From a path to a Plan: reads the file and what it names, fills in variables, and tells every fault at once, each with its line.

The one place of this room that touches the file system.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import cast

from mcpwatch.config import yaml
from mcpwatch.config.parse import Config, Parser, runtime_keys
from mcpwatch.config.plan import build
from mcpwatch.config.rules import World, problems
from mcpwatch.config.validate import ConfigFindings
from mcpwatch.foreign import json_text
from mcpwatch.foreign.dialects import OURS, Dialect, convert, demanded, detect, misplaced
from mcpwatch.foreign.document import Document, Path, Value
from mcpwatch.foreign.server import Complain
from mcpwatch.foreign.variables import Expansion, expand, read_env
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.spec import Plan
from mcpwatch.registry import Kinds

MOST_DOTS = 200
MAX_BYTES = 4 * 1024 * 1024
"""Largest configuration file, `env_file` or secret file that is read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was read and typed: `config` is right as far as `faults` is empty."""

    document: Document
    dialect: Dialect
    config: Config
    world: World
    faults: tuple[Fault, ...]


def load_plan(path: FilePath, kinds: Kinds, environ: Mapping[str, str], state_dir: FilePath, *, text: str | None = None) -> Plan:
    """The plan in a file of any known dialect. Raises `ConfigError` with every fault, by file and line; changes nothing.

    With `text`, the plan that the file would give if it held that.
    """
    loaded = load(path, kinds, environ, text=text)
    if loaded.faults:
        raise ConfigError(*loaded.faults)
    return build(loaded.config, kinds, state_dir=state_dir, world=loaded.world)


def load(path: FilePath, kinds: Kinds, environ: Mapping[str, str], *, text: str | None = None, anywhere: bool = False) -> Loaded:
    """The typed file with all its faults; `anywhere`: those that it has on every machine, whatever is set or installed there.

    Raises `ConfigError` only when the text cannot be read at all.
    """
    document = read_document(path) if text is None else document_of(path, text)
    dialect = detect(document.data)
    world = _complete(path) if anywhere else machine(path, environ)
    findings = ConfigFindings()
    faults: list[tuple[Path, Fault]] = []

    def complain(where: Path, message: str) -> None:
        faults.append((where, document.fault(where, message)))

    told = misplaced(document.data) if dialect is OURS else ""
    if told:
        raise ConfigError(document.fault((), told))
    variables = _variables(document.data, environ, world, complain)
    expansion = Expansion()
    written = convert(document.data, dialect, complain)
    raw = expand(written, variables, expansion, dollar=dialect.dollar, foreign=dialect is not OURS)
    for where, message in demanded(expansion.faults, written):
        complain(dialect.place(where), message)
    config = Parser(kinds, findings, lambda name: world.read(world.place(name))).config(raw, str(path))
    files = frozenset(world.place(name) for name in findings.files)
    config = replace(config, secrets=frozenset(findings.secrets | expansion.secrets), secret_files=files)
    for where, message in (*findings.faults, *problems(config, world, frozenset(runtime_keys(kinds)))):
        complain(dialect.place(where), message)
    unset = {dialect.place(where) for where, _ in expansion.faults}
    kept = _without_echoes([one for one in faults if not anywhere or one[0] not in unset], unset)
    return Loaded(document, dialect, config, world, tuple(sorted((*document.faults, *kept), key=lambda fault: fault.line or 0)))


def _without_echoes(faults: list[tuple[Path, Fault]], unset: set[Path]) -> list[Fault]:
    """A value whose variable is missing is told once: that it is then also empty is no news."""
    kept: list[Fault] = []
    for where, fault in faults:
        echo = where in unset and any(other.path == fault.path for other in kept)
        if not echo and fault not in kept:
            kept.append(fault)
    return kept


def read_document(path: FilePath) -> Document:
    """The document in a file: TOML by its name, else YAML or JSON by its first character. Raises `ConfigError`."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(Fault("", f"cannot read it: {error.strerror or error}", str(path))) from None
    except UnicodeDecodeError:
        raise ConfigError(Fault("", "is not UTF-8 text", str(path))) from None
    return document_of(path, text)


def document_of(path: FilePath, text: str) -> Document:
    """The document in the text of a file: YAML, JSON or TOML by its name and first character. Raises `ConfigError`."""
    text = text.removeprefix("\ufeff")
    if path.suffix.lower() == ".toml":
        return _toml(text, str(path))
    looks_json = path.suffix.lower() == ".json" or text.lstrip(" \t\r\n").startswith("{")
    return json_text.read(text, str(path)) if looks_json else yaml.read(text, str(path))


def _toml(text: str, file: str) -> Document:
    """A client's TOML file; it tells no lines. The parser takes the square of a key's parts, so that there are few."""
    if any(line.count(".") > MOST_DOTS for line in text.split("\n")):
        raise ConfigError(Fault("", f"holds a line of more than {MOST_DOTS} dots, which mcpwatch does not read", file))
    try:
        return Document(cast("Value", tomllib.loads(text)), {}, file)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(Fault("", f"not TOML: {error}", file)) from None


def read_text(path: FilePath) -> str:
    """The text of a small file. Raises `OSError` (also when it is too large) or `UnicodeDecodeError`."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise OSError(27, f"larger than {MAX_BYTES} bytes")
    return raw.decode("utf-8-sig")


def machine(path: FilePath, environ: Mapping[str, str]) -> World:
    """This machine, as `rules` wants to see it."""
    return World(
        which=lambda command, search: shutil.which(command, path=search or environ.get("PATH", os.defpath)),
        is_directory=lambda name: FilePath(name).is_dir(),
        read=lambda name: read_text(FilePath(name)),
        base=path.absolute().parent,
    )


def _complete(path: FilePath) -> World:
    """A machine that has every program, directory and file."""

    def which(command: str, search: str | None) -> str | None:  # noqa: ARG001
        return command

    return World(which=which, is_directory=bool, read="X=1".format, base=path.absolute().parent)


def _variables(data: Value, environ: Mapping[str, str], world: World, complain: Complain) -> dict[str, str]:
    """The environment over the variables of `env_file`."""
    named = data.get("env_file") if isinstance(data, dict) else None
    files = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    made: dict[str, str] = {}
    for index, name in enumerate(files):
        where: Path = ("env_file",) if isinstance(named, str) else ("env_file", index)
        if not isinstance(name, str):
            continue
        try:
            values, wrong = read_env(world.read(world.place(name)))
        except (OSError, UnicodeDecodeError) as error:
            complain(where, f"cannot read {name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
            continue
        for line, what in wrong:
            complain(where, f"{name}:{line}: {what}")
        made |= values
    return {**made, **environ}
