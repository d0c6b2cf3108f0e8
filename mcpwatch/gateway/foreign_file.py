"""A file of somebody else: TBXark `config.json`, `mcp-servers.json`, sparfenyuk's named servers, as the gateway's settings.

Owns the conversion; faults are told at their place. A cold start with the gateway's own file does not load it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from mcpwatch.foreign import json_text
from mcpwatch.foreign.dialects import OURS, VSCODE, convert, demanded, detect, misplaced
from mcpwatch.foreign.document import Document
from mcpwatch.foreign.variables import Expansion, expand
from mcpwatch.gateway.settings import Settings
from mcpwatch.gateway.settings_reader import SettingsReader, address
from mcpwatch.model.errors import ConfigError, Fault


def load(text: str, file: str, environ: Mapping[str, str]) -> Settings:
    """The settings in the text of a file. Raises `ConfigError`."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        document = json_text.read(text, file).data
    if not isinstance(document, dict):
        raise ConfigError(Fault("", "must be a JSON object", file))
    found = cast("dict[str, Any]", document)
    return _own(found, file) if _is_own(found) else _foreign(json_text.read(text, file), environ)


def parse(document: dict[str, Any], file: str | None, environ: Mapping[str, str]) -> Settings:
    """The settings in a parsed document. Raises `ConfigError`."""
    if _is_own(document):
        return _own(document, file)
    _demand_place(document, file)
    return _foreign(Document(document, {}, file or ""), environ)


def _own(document: dict[str, Any], file: str | None) -> Settings:
    _demand_place(document, file)
    return SettingsReader(file).settings(document)


def _demand_place(document: dict[str, Any], file: str | None) -> None:
    if "servers" not in document and (what := misplaced(document)):
        raise ConfigError(Fault("", what, file))


def _is_own(document: dict[str, Any]) -> bool:
    """Whether a file is the gateway's own, or at least no foreign one."""
    dialect = detect(document)
    return "version" in document or dialect is OURS or (dialect is VSCODE and "inputs" not in document)


def _foreign(document: Document, environ: Mapping[str, str]) -> Settings:
    """The settings in somebody else's file, read as `mcpwatch up` reads it. Raises `ConfigError`."""
    dialect, faults, expansion = detect(document.data), list(document.faults), Expansion()
    raw = convert(document.data, dialect, lambda where, what: faults.append(document.fault(where, what)))
    filled = expand(raw, environ, expansion, dollar=dialect.dollar, foreign=True)
    faults += [document.fault(dialect.place(where), what) for where, what in demanded(expansion.faults, raw)]
    if faults:
        raise ConfigError(*faults)
    whole = cast("dict[str, Any]", filled)
    proxy: dict[str, Any] = whole["proxy"]
    tokens: list[str] = proxy.get("auth", {}).get("tokens") or []
    servers = {name: _server(member, tokens) for name, member in whole["members"].items() if member.get("enabled") is not False}
    own = {"version": 1, "listen": address(proxy.get("listen")), "base_url": proxy.get("base_url"), "servers": servers}
    return SettingsReader(document.file or None).settings(own)


def _server(member: dict[str, Any], tokens: list[str]) -> dict[str, Any]:
    """A member as the gateway's own file has it."""
    server = {**member.get("stdio", {}), **{key: member[key] for key in ("url", "headers", "transport", "tools") if key in member}}
    return {**server, "tokens": member.get("auth", {}).get("tokens") or tokens}
