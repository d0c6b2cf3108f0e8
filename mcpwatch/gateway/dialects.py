"""The gateway's file in four dialects: its own (version 1), TBXark `config.json`, `mcp-servers.json`, sparfenyuk's named servers.

Owns which reader a file gets: its own is read without anything that foreign files need. Must not know transports or processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mcpwatch.foreign.file import Unreadable, read
from mcpwatch.gateway.settings import Settings
from mcpwatch.gateway.settings_reader import SettingsReader
from mcpwatch.model.errors import ConfigError, Fault


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in a file. Raises `ConfigError` with every fault found. `environ` fills in the variables of a foreign file."""
    try:
        found = read(path)
    except Unreadable as why:
        raise ConfigError(Fault("", f"{why}; give an existing UTF-8 file with --config", str(path))) from None
    if found is None:
        raise ConfigError(Fault("", "is not there; give an existing file with --config", str(path)))
    try:
        document: object = json.loads(found.text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "version" in document:
        return SettingsReader(str(path)).settings(cast("dict[str, Any]", document))
    from mcpwatch.gateway import foreign_file  # after the first servers were started, where the file is our own

    return foreign_file.load(found.text, str(path), os.environ if environ is None else environ)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file: its time, size and inode; `None` where it cannot be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def parse(document: object, file: str | None = None) -> Settings:
    """The settings in a parsed document. Raises `ConfigError` with every fault found."""
    if not isinstance(document, dict):
        raise ConfigError(Fault("", "must be a JSON object", file))
    found = cast("dict[str, Any]", document)
    if "version" in found and "servers" in found:
        return SettingsReader(file).settings(found)
    from mcpwatch.gateway import foreign_file

    return foreign_file.parse(found, file, os.environ)
