"""A foreign file as a commented file of ours, for `mcpwatch init --from`: same names, same routes, variables left as variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, cast

from mcpwatch.config import yaml
from mcpwatch.config.load import read_document
from mcpwatch.foreign.dialects import OURS, Dialect, convert, detect, misplaced
from mcpwatch.foreign.document import Document, Path, Value, with_texts
from mcpwatch.foreign.variables import MIN_SECRET, editor_places, secret_name, spelled
from mcpwatch.model.errors import ConfigError, Fault

_CARRIED = frozenset({
    "command", "cmd", "args", "env", "envs", "environment", "cwd", "url", "uri", "serverUrl", "httpUrl", "headers", "type",
    "transport", "transportType", "disabled", "enabled", "options", "tools", "includeTools", "excludeTools",
})  # fmt: skip
_CARRIED_OPTIONS = frozenset({"authTokens", "toolFilter", "disabled"})


def import_foreign(path: FilePath) -> str:
    """The YAML text of a foreign file. Raises `ConfigError` with every fault, also when the file is ours already."""
    document = read_document(path)
    dialect = detect(document.data)
    if dialect is OURS:
        what = misplaced(document.data) or "is no file of servers: it has none of mcpProxy, mcpServers, mcp.servers, mcp_servers"
        raise ConfigError(Fault("", what, str(path)))
    faults = list(document.faults)
    renamed: dict[str, str] = {}
    raw = convert(document.data, dialect, lambda where, message: faults.append(document.fault(where, message)), renamed)
    if faults:
        raise ConfigError(*faults)
    return render(cast("dict[str, Any]", _variables(raw, dialect)), document, dialect, renamed)


def render(raw: dict[str, Any], document: Document, dialect: Dialect, renamed: dict[str, str]) -> str:
    """The text: a title, the proxy, then the members with a comment on what each could not bring along."""
    head = f"# Made by 'mcpwatch init' from {dialect.title}: {FilePath(document.file).name}\n"
    if any(True for _ in literal_secrets(raw)):
        head += "# Values of secrets were copied as they stood. Better: put them into a .env file, name it as env_file,\n"
        head += "# and write ${NAME} here.\n"
    proxy = {**raw["proxy"]}
    proxy.setdefault("listen", "127.0.0.1:9090")
    members = yaml.commented({name: _member(member) for name, member in cast("dict[str, Any]", raw.get("members") or {}).items()})
    for name in members:
        old = renamed.get(str(name)) or str(name)
        left = _left_behind(document.data, dialect, old)
        remarks = [f"was called {old!r}, which no route can be"] if old != name else []
        remarks += [f"not taken over: {', '.join(left)}"] if left else []
        remarks += _asked(raw["members"][name])
        if remarks:
            yaml.remark(members, name, "\n".join(remarks), 2)
    body = yaml.commented({"version": 1, "proxy": proxy, "members": members})
    lost = [key for key in ("name", "version", "type") if key in _mapping(_mapping(document.data).get("mcpProxy"))]
    if lost:
        yaml.remark(body, "proxy", f"not taken over from mcpProxy: {', '.join(lost)}; the gateway serves /sse and /mcp at once", 0)
    return head + yaml.dump(body)


def _member(member: dict[str, Any]) -> dict[str, Any]:
    """A member without what is the default anyway."""
    return {key: value for key, value in member.items() if not (key == "transport" and value == "auto")}


def _left_behind(data: Value, dialect: Dialect, name: str) -> list[str]:
    """The keys of a server that have no counterpart here."""
    for step in dialect.servers:
        data = _mapping(data).get(step)
    server = _mapping(_mapping(data).get(name))
    options = _mapping(server.get("options"))
    return [key for key in server if key not in _CARRIED] + [f"options.{key}" for key in options if key not in _CARRIED_OPTIONS]


def _asked(member: Value) -> list[str]:
    """What an editor would know and mcpwatch does not: it must be written out."""
    return sorted({f"write out {found}: only an editor knows it" for text in _every_text(member) for found in editor_places(text)})


def _every_text(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _every_text(item)


def _mapping(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}


def _variables(value: Value, dialect: Dialect) -> Value:
    """Texts as our own format spells them: variables of TBXark and of editors as `${VAR}`, every other dollar sign doubled."""
    return with_texts(value, lambda text: spelled(text, dollar=dialect.dollar) if "$" in text else text)


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
