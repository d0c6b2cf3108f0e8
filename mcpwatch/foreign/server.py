"""One server of a foreign file as a member of ours. Pure.

Owns the spellings that clients and proxies use for the same thing, and which names can be routes.
What a client would accept is accepted, else told at its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from mcpwatch.foreign.document import Path, Value
from mcpwatch.model.errors import suggest

Complain = Callable[[Path, str], None]
"""Told of a fault: its place in the foreign document, and what is wrong."""

FAULTY: Mapping[str, Value] = {"url": "http://faulty.invalid/", "enabled": False}
"""Stands for a server whose fault is told already, or that is disabled, so that nothing more is said of it."""
_TYPES: Mapping[str, str] = {
    "stdio": "stdio", "local": "stdio", "sse": "sse", "http": "http", "streamable-http": "http", "streamable_http": "http",
    "streamablehttp": "http", "auto": "auto", "remote": "auto",
}  # fmt: skip
_URLS = ("url", "serverUrl", "httpUrl", "uri")
_COMMANDS = ("command", "cmd")


def member(path: Path, written: Value, *, sse: bool, complain: Complain) -> Value:
    """The member. `path` is where it stands; `sse` says that a URL without a type is taken for SSE there."""
    if not isinstance(written, dict):
        complain(path, "must be a mapping with 'command' or 'url'")
        return dict(FAULTY)
    server = _opened(written)
    kind = _wire(server, path, complain)
    url = next((key for key in _URLS if server.get(key)), None)
    command = next((key for key in _COMMANDS if server.get(key)), None)
    made: dict[str, Value] = {}
    if command and url and kind is None:
        complain(path, f"has both '{command}' and '{url}'; keep one")
        return dict(FAULTY)
    if kind == "stdio" or (command and kind is None):
        made["stdio"] = _stdio(server, path, complain)
    elif url is not None:
        made["url"] = server[url]
        if server.get("headers") is not None:
            made["headers"] = _texts(server["headers"])
        made["transport"] = kind or ("http" if url == "httpUrl" else "sse" if sse else "auto")
    else:
        complain(path, "has neither 'command' nor 'url'" + _near(server))
        return dict(FAULTY)
    for key, off in (("disabled", True), ("enabled", False)):
        if server.get(key) is off:
            made["enabled"] = False
        elif server.get(key) is not None and not isinstance(server[key], bool):
            complain((*path, key), "must be true or false")
    _options(server.get("options"), made, path, complain)
    _tools(server, made, path, complain)
    return made


def _opened(written: dict[str, Value]) -> dict[str, Value]:
    """A server whose transport is an object with the rest, as one mapping."""
    inner = written.get("transport")
    return {**{key: value for key, value in written.items() if key != "transport"}, **inner} if isinstance(inner, dict) else written


def _near(server: dict[str, Value]) -> str:
    """A key that was nearly one of those."""
    known = {key.lower(): key for key in (*_URLS, *_COMMANDS)}
    for key in server:
        meant = known.get(key.strip().lower())
        if meant is not None and meant != key:
            return f"; '{key}' is not '{meant}'"
    return ""


def _stdio(server: dict[str, Value], path: Path, complain: Complain) -> Value:
    """Command, arguments, environment and directory, as clients accept them: a list as the command, numbers as texts."""
    made: dict[str, Value] = {}
    command = next((server[key] for key in _COMMANDS if server.get(key)), None)
    args = server.get("args")
    if isinstance(command, list) and command:
        command, args = command[0], [*command[1:], *(args if isinstance(args, list) else [])]
    if command is not None:
        made["command"] = command
    if isinstance(args, list):
        made["args"] = [_text(item) for item in args]
    elif args is not None:
        complain((*path, "args"), "must be a list of texts, one for each argument")
    env = next((server[key] for key in ("env", "envs", "environment") if server.get(key) is not None), None)
    if env is not None:
        made["env"] = _texts(env)
    if server.get("cwd") is not None:
        made["cwd"] = server["cwd"]
    return made


def _texts(value: Value) -> Value:
    """A mapping to texts: numbers and truth values as JSON writes them, without what is null."""
    return {key: _text(item) for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _text(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _wire(written: dict[str, Value], path: Path, complain: Complain) -> str | None:
    """The transport named by `transportType`, `type` or `transport`; `None` when none is."""
    key = next((key for key in ("transportType", "type", "transport") if written.get(key)), None)
    if key is None:
        return None
    word = written[key]
    wire = _TYPES.get(word.lower()) if isinstance(word, str) else None
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
        mode = rules.get("mode") or "allow"
        if isinstance(mode, str) and mode.lower() in {"allow", "block"}:
            made["tools"] = {mode.lower(): rules.get("list") or []}
        else:
            complain((*path, "options", "toolFilter", "mode"), "must be 'allow' or 'block'")
    elif rules is not None:
        complain((*path, "options", "toolFilter"), "must be a mapping")


def _tools(server: dict[str, Value], made: dict[str, Value], path: Path, complain: Complain) -> None:
    """The filters of clients: `tools` of Copilot (`*` is every tool), `includeTools` and `excludeTools` of Gemini."""
    found = made.get("tools")
    tools: dict[str, Value] = {**found} if isinstance(found, dict) else {}
    for key, rule in (("tools", "allow"), ("includeTools", "allow"), ("excludeTools", "block")):
        listed = server.get(key)
        if listed is None or (isinstance(listed, list) and "*" in listed and rule == "allow"):
            continue
        if not isinstance(listed, list) or not listed:
            if key == "tools" or not isinstance(listed, list):
                complain((*path, key), "must be a list of names of tools, or ['*'] for every one")
            continue
        tools[rule] = listed
    if tools:
        made["tools"] = tools


SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names the gateway serves."""
RESERVED = frozenset({"sse", "mcp", "messages", "healthz", "readyz", "_healthz", "_readyz", "metrics", "rpc", "health"})
"""Paths of the gateway's own: no route may have such a name."""
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


def servable(name: str) -> bool:
    """Whether a route may have this name."""
    return SERVED.fullmatch(name) is not None and name not in RESERVED


def proposal(name: str, taken: Collection[str] = ()) -> str:
    """`name` when a route may have it, else the nearest one that it may, other than those `taken`."""
    made = name if servable(name) else _OTHER.sub("-", name[:200].translate(_LETTERS)).strip("-._")[:56] or "server"
    made = f"{made}-server" if made in RESERVED else made
    candidate, number = made, 2
    while candidate in taken:
        candidate, number = f"{made[:56]}-{number}", number + 1
    return candidate
