"""Other people's files as ours: TBXark `config.json`, `mcp-servers.json`, sparfenyuk's named-server file. Pure.

A foreign file is taken as its own program takes it: keys we do not know are passed over, names and routes stay. Faults are told at
the place in the *foreign* file, by `Dialect.place`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mcpwatch.config.document import Path, Value
from mcpwatch.model.naming import suggest

DialectName = Literal["mcpwatch", "tbxark", "mcp-servers", "sparfenyuk"]
Complain = Callable[[Path, str], None]
"""Told of a fault: its place in the foreign document, and what is wrong."""

_TYPES: Mapping[str, str] = {
    "stdio": "stdio",
    "sse": "sse",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
    "streamablehttp": "http",
    "auto": "auto",
}


_FAULTY: Mapping[str, Value] = {"url": "http://faulty.invalid/", "enabled": False}
"""Stands for a server whose fault is told already, so that nothing more is."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One format: its name, whether `$VAR` without braces is a variable in it, and where our paths stand in it."""

    name: DialectName
    dollar: bool = False
    places: tuple[tuple[Path, Path], ...] = ()
    """Pairs of our path and theirs; `*` is the member's name."""

    def place(self, path: Path) -> Path:
        """Where `path` of the converted document stands in the file that the user wrote."""
        for ours, theirs in sorted(self.places, key=lambda pair: -len(pair[0])):
            if len(path) >= len(ours) and all(step in {"*", path[index]} for index, step in enumerate(ours)):
                name = path[ours.index("*")] if "*" in ours else ""
                return (*(name if step == "*" else step for step in theirs), *path[len(ours) :])
        return path


_MEMBER: tuple[tuple[Path, Path], ...] = (
    (("members", "*", "stdio"), ("mcpServers", "*")),
    (("members", "*"), ("mcpServers", "*")),
    (("members",), ("mcpServers",)),
)
OURS = Dialect("mcpwatch")
TBXARK = Dialect(
    "tbxark",
    dollar=True,
    places=(
        *_MEMBER,
        (("members", "*", "transport"), ("mcpServers", "*", "transportType")),
        (("members", "*", "auth", "tokens"), ("mcpServers", "*", "options", "authTokens")),
        (("members", "*", "tools", "allow"), ("mcpServers", "*", "options", "toolFilter", "list")),
        (("members", "*", "tools", "block"), ("mcpServers", "*", "options", "toolFilter", "list")),
        (("members", "*", "enabled"), ("mcpServers", "*", "options", "disabled")),
        (("proxy", "listen"), ("mcpProxy", "addr")),
        (("proxy", "base_url"), ("mcpProxy", "baseURL")),
        (("proxy", "auth", "tokens"), ("mcpProxy", "options", "authTokens")),
        (("proxy",), ("mcpProxy",)),
    ),
)
BARE = Dialect("mcp-servers", places=(*_MEMBER, (("members", "*", "transport"), ("mcpServers", "*", "type"))))
SPARFENYUK = Dialect("sparfenyuk", places=(*_MEMBER, (("members", "*", "transport"), ("mcpServers", "*", "transportType"))))


def detect(data: Value) -> Dialect:
    """Which format a document is in, by its top-level keys."""
    if not isinstance(data, dict) or "members" in data:
        return OURS
    if "mcpProxy" in data:
        return TBXARK
    servers = data.get("mcpServers")
    if "mcpServers" not in data:
        return OURS
    named = isinstance(servers, dict) and any(isinstance(server, dict) and "enabled" in server for server in servers.values())
    return SPARFENYUK if named else BARE


def convert(data: Value, dialect: Dialect, complain: Complain) -> Value:
    """The document in our own format. What is wrong in a way that only this dialect can tell goes to `complain`."""
    if dialect is OURS or not isinstance(data, dict):
        return data
    made: dict[str, Value] = {"proxy": _proxy(data.get("mcpProxy", {}), complain)}
    servers = data.get("mcpServers")
    if isinstance(servers, dict):
        made["members"] = {name: _member(name, server, dialect, complain) for name, server in servers.items()}
    else:
        complain(("mcpServers",), "is missing" if servers is None else "must be a mapping of names to servers")
    return made


def _proxy(written: Value, complain: Complain) -> Value:
    if not isinstance(written, dict):
        complain(("mcpProxy",), "must be a mapping")
        return {}
    made: dict[str, Value] = {"kind": "gateway"}
    _take(written, made, {"addr": "listen", "baseURL": "base_url"})
    options = written.get("options", {})
    if isinstance(options, dict):
        if options.get("authTokens"):
            made["auth"] = {"tokens": options["authTokens"]}
    elif options is not None:
        complain(("mcpProxy", "options"), "must be a mapping")
    return made


def _member(name: str, written: Value, dialect: Dialect, complain: Complain) -> Value:
    path: Path = ("mcpServers", name)
    if not isinstance(written, dict):
        complain(path, "must be a mapping with 'command' or 'url'")
        return dict(_FAULTY)
    made: dict[str, Value] = {}
    kind = _wire(written, path, complain)
    url = next((key for key in ("url", "serverUrl", "httpUrl") if written.get(key)), None)
    if kind == "stdio" or (kind is None and "command" in written):
        stdio: dict[str, Value] = {}
        _take(written, stdio, {key: key for key in ("command", "args", "env", "cwd")})
        if stdio.get("env") is None:
            stdio.pop("env", None)
        made["stdio"] = stdio
    elif url is not None:
        _take(written, made, {url: "url", "headers": "headers"})
        default = "http" if url == "httpUrl" else "sse" if dialect.name == "tbxark" else "auto"
        made["transport"] = kind or default
    else:
        complain(path, "has neither 'command' nor 'url'")
        return dict(_FAULTY)
    if written.get("disabled") is True or written.get("enabled") is False:
        made["enabled"] = False
    _options(written.get("options"), made, path, complain)
    return made


def _wire(written: dict[str, Value], path: Path, complain: Complain) -> str | None:
    """The transport named by `transportType`, `type` or `transport`; `None` when none is."""
    key = next((key for key in ("transportType", "type", "transport") if written.get(key)), None)
    if key is None:
        return None
    word = written[key]
    wire = _TYPES.get(word) if isinstance(word, str) else None
    if wire is None:
        complain((*path, key), f"unknown transport '{word}'{suggest(str(word), ('stdio', 'sse', 'streamable-http'))}")
    return None if wire == "auto" else wire


def _options(options: Value, made: dict[str, Value], path: Path, complain: Complain) -> None:
    """What TBXark's proxy puts under `options` of a server."""
    if options is None:
        return
    if not isinstance(options, dict):
        complain((*path, "options"), "must be a mapping")
        return
    if options.get("disabled") is True:
        made["enabled"] = False
    if options.get("authTokens"):
        made["auth"] = {"tokens": options["authTokens"]}
    rules = options.get("toolFilter")
    if isinstance(rules, dict):
        mode = rules.get("mode", "allow")
        if isinstance(mode, str) and mode in {"allow", "block"}:
            made["tools"] = {mode: rules.get("list", [])}
        else:
            complain((*path, "options", "toolFilter", "mode"), "must be 'allow' or 'block'")
    elif rules is not None:
        complain((*path, "options", "toolFilter"), "must be a mapping")


def _take(source: dict[str, Value], into: dict[str, Value], keys: Mapping[str, str]) -> None:
    for theirs, ours in keys.items():
        if theirs in source and source[theirs] is not None:
            into[ours] = source[theirs]
