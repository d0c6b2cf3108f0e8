"""A foreign file as a commented file of ours, for `mcpwatch init --from`: same names, same routes, variables left as variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, cast

from mcpwatch.config import yaml
from mcpwatch.config.dialects import OURS, TBXARK, Dialect, convert, detect
from mcpwatch.config.document import Document, Path, Value
from mcpwatch.config.load import read_document
from mcpwatch.config.variables import MIN_SECRET, secret_name
from mcpwatch.model.errors import ConfigError, Fault

_BARE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{[^}]*\}|\$)")
_CARRIED = frozenset({
    "command", "args", "env", "cwd", "url", "serverUrl", "httpUrl", "headers", "type", "transport", "transportType", "disabled",
    "enabled", "options",
})  # fmt: skip
_CARRIED_OPTIONS = frozenset({"authTokens", "toolFilter", "disabled"})
_TITLES = {"tbxark": "a TBXark config.json", "mcp-servers": "an mcp-servers.json", "sparfenyuk": "a sparfenyuk named-server file"}


def import_foreign(path: FilePath) -> str:
    """The YAML text of a foreign file. Raises `ConfigError` with every fault, also when the file is ours already."""
    document = read_document(path)
    dialect = detect(document.data)
    if dialect is OURS:
        raise ConfigError(
            Fault("", "is no TBXark, mcp-servers or sparfenyuk file: it has neither mcpProxy nor mcpServers", str(path))
        )
    faults = list(document.faults)
    raw = convert(document.data, dialect, lambda where, message: faults.append(document.fault(where, message)))
    if faults:
        raise ConfigError(*faults)
    return render(cast("dict[str, Any]", _variables(raw, dialect)), document, dialect)


def render(raw: dict[str, Any], document: Document, dialect: Dialect) -> str:
    """The text: a title, the proxy, then the members with a comment on what each could not bring along."""
    head = f"# Made by 'mcpwatch init' from {_TITLES[dialect.name]}: {FilePath(document.file).name}\n"
    if any(True for _ in literal_secrets(raw)):
        head += "# Values of secrets were copied as they stood. Better: put them into a .env file, name it as env_file,\n"
        head += "# and write ${NAME} here.\n"
    proxy = {**raw["proxy"]}
    proxy.setdefault("listen", "127.0.0.1:9090")
    members = yaml.commented({name: _member(member) for name, member in cast("dict[str, Any]", raw.get("members") or {}).items()})
    for name in members:
        left = _left_behind(document.data, name)
        if left:
            yaml.remark(members, name, f"not taken over: {', '.join(left)}", 2)
    body = yaml.commented({"version": 1, "proxy": proxy, "members": members})
    lost = [key for key in ("name", "version", "type") if key in _mapping(_mapping(document.data).get("mcpProxy"))]
    if lost:
        yaml.remark(body, "proxy", f"not taken over from mcpProxy: {', '.join(lost)}; the gateway serves /sse and /mcp at once", 0)
    return head + yaml.dump(body)


def _member(member: dict[str, Any]) -> dict[str, Any]:
    """A member without what is the default anyway."""
    return {key: value for key, value in member.items() if not (key == "transport" and value == "auto")}


def _left_behind(data: Value, name: str) -> list[str]:
    """The keys of a server that have no counterpart here."""
    server = _mapping(_mapping(_mapping(data).get("mcpServers")).get(name))
    options = _mapping(server.get("options"))
    return [key for key in server if key not in _CARRIED] + [f"options.{key}" for key in options if key not in _CARRIED_OPTIONS]


def _mapping(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}


def _variables(value: Value, dialect: Dialect) -> Value:
    """`$VAR` of TBXark's proxy as `${VAR}`; every other dialect spells it so already."""
    if isinstance(value, dict):
        return {key: _variables(item, dialect) for key, item in value.items()}
    if isinstance(value, list):
        return [_variables(item, dialect) for item in value]
    if isinstance(value, str) and dialect is TBXARK:
        return _BARE.sub(lambda match: f"${{{match[1]}}}" if match[1] else match[0], value)
    return value


def literal_secrets(value: object, path: Path = ()) -> Iterator[Path]:
    """Where a secret stands in plain text: under a telling name, and no variable."""
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            yield from literal_secrets(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from literal_secrets(item, (*path, index))
    elif isinstance(value, str) and len(value) >= MIN_SECRET and "${" not in value:
        names = [step for step in path if isinstance(step, str)]
        if names and (secret_name(names[-1]) or names[-1] == "tokens"):
            yield path
