"""Servers found in other people's files: each as a member of ours, or with the reason why it is left alone; which are wished. Pure.

Owns which tables of a document hold servers, what cannot be carried over, and when two entries are the same server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from mcpwatch.foreign.document import Value, spell, with_texts
from mcpwatch.foreign.server import member, proposal, servable
from mcpwatch.foreign.variables import editor_places, spelled

_TABLES: tuple[tuple[str, ...], ...] = (
    ("mcpServers",), ("mcp", "servers"), ("mcp_servers",), ("context_servers",), ("servers",), ("mcp",), ("extensions",),
)  # fmt: skip
_KNOWN = frozenset({
    "command", "cmd", "args", "env", "envs", "environment", "cwd", "url", "serverUrl", "httpUrl", "uri", "headers", "http_headers",
    "type", "transport", "transportType", "disabled", "enabled", "options", "name", "description",
})  # fmt: skip
_SERVERS = frozenset({"fetch", "time", "git", "filesystem", "memory", "everything", "github", "playwright"})
"""Names by which people call a service that is an MCP server; those of databases and apps mean the database."""
_CREDENTIALS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")
_WINDOWS = re.compile(r"^[A-Za-z]:[\\/]|\\\\")
_INPUT = re.compile(r"\$\{input:[^}]*\}")


@dataclass(frozen=True, slots=True)
class FoundServer:
    """One server: `member` in our format, where it was found, its name there, `trouble` when it is left alone.

    `proposed`: the tool of a canary that the catalogue, not the file, gave it.
    """

    name: str
    member: Mapping[str, Any] = field(repr=False)
    sources: tuple[str, ...]
    original: str
    trouble: str = ""
    ignored: tuple[str, ...] = ()
    proposed: str = ""

    @property
    def key(self) -> str:
        """Equal for the same server: what is run or where it is, whatever it is called."""
        stdio: dict[str, Any] = self.member.get("stdio") or {}
        if stdio:
            command = str(stdio.get("command", "")).rpartition("/")[2]
            env: dict[str, Any] = stdio.get("env") or {}
            return json.dumps([command, stdio.get("args") or [], sorted(env.items())], default=str)
        return json.dumps([self.member.get("url"), self.member.get("docker")], default=str, sort_keys=True)


def servers_in(data: Value, source: str, *, dollar: bool = False) -> Iterator[FoundServer]:
    """Every server of a document: of AI clients, TBXark, sparfenyuk, compose, or a fleet of ours.

    `dollar`: `$VAR` is a variable, as TBXark and Gemini CLI read it.
    """
    document = _mapping(data)
    if "members" in document:
        for name, written in _mapping(document["members"]).items():
            yield FoundServer(str(name), _mapping(written), (source,), str(name))
        return
    services = document.get("services")
    if isinstance(services, dict) and not any(table[0] in document for table in _TABLES if table != ("services",)):
        for name, written in _mapping(services).items():
            yield _of_compose(str(name), _mapping(written), source)
        return
    dollar = dollar or "mcpProxy" in document
    for table in _tables(document):
        for name, written in table.items():
            yield _of_client(str(name), written, source, dollar=dollar)


def _tables(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The mappings that hold servers; of Claude Code's file those of each project too."""
    for path in _TABLES:
        at: Any = document
        for step in path:
            at = cast("dict[str, Any]", at).get(step) if isinstance(at, dict) else None
        if isinstance(at, list):
            items = [cast("dict[str, Any]", item) for item in cast("list[Any]", at) if isinstance(item, dict)]
            at = {str(item.get("name", number)): item for number, item in enumerate(items)}
        if isinstance(at, dict) and any(_is_server(item) for item in cast("dict[str, Any]", at).values()):
            yield cast("dict[str, Any]", at)
    for project in _mapping(document.get("projects")).values():
        servers = _mapping(_mapping(project).get("mcpServers"))
        if servers:
            yield servers


_MARKS = frozenset({"command", "cmd", "url", "serverUrl", "httpUrl", "uri"})


def _is_server(item: Any) -> bool:
    return isinstance(item, dict) and any(str(key).strip() in _MARKS for key in cast("dict[Any, Any]", item))


def _of_client(name: str, written: Any, source: str, *, dollar: bool) -> FoundServer:
    ours = name if servable(name) else proposal(name)
    if not isinstance(written, dict):
        return FoundServer(ours, {}, (source,), name, "is no server: neither a command nor a URL")
    entry = _normal(cast("dict[str, Any]", written))
    ignored = tuple(sorted(str(key) for key in entry if key not in _KNOWN))
    trouble = _not_portable(entry)
    told: list[str] = []

    def complain(where: tuple[str | int, ...], message: str) -> None:
        told.append(f"{spell(where)}: {message}" if where else message)

    made: Any = member((), entry, sse=dollar, complain=complain)
    trouble = trouble or (told[0] if told else "")
    value: dict[str, Any] = (
        {} if trouble else _plain(with_texts(made, lambda text: spelled(text, dollar=dollar) if "$" in text else text))
    )
    return FoundServer(ours, value, (source,), name, trouble, ignored)


def _plain(made: dict[str, Any]) -> dict[str, Any]:
    """A member without what is the default anyway."""
    stdio: Any = made.get("stdio")
    if isinstance(stdio, dict):
        kept = {key: item for key, item in cast("dict[str, Any]", stdio).items() if item not in ([], {}, None)}
        made = {**made, "stdio": kept}
    return {key: item for key, item in made.items() if not (key == "transport" and item == "auto")}


def _normal(written: dict[str, Any]) -> dict[str, Any]:
    """The words of single clients for what all have."""
    entry = dict(written)
    for theirs, ours in (("environment", "env"), ("envs", "env"), ("http_headers", "headers")):
        if theirs in entry and ours not in entry:
            entry[ours] = entry.pop(theirs)
    if entry.get("type") in ("local", "builtin"):
        entry.pop("type")
    if entry.get("type") == "remote":
        entry["type"] = "auto"
    return entry


def _not_portable(entry: Mapping[str, Any]) -> str:
    """Why a server cannot be brought along, or the empty string."""
    text = json.dumps(entry, ensure_ascii=False, default=str)
    if asked := _INPUT.search(text):
        return f"{asked[0]} is asked of a person by the editor; add it with 'mcpwatch add' and the value in the env file"
    if places := editor_places(text):
        return f"{places[0]} is known to the editor only"
    if entry.get("oauth") or (isinstance(entry.get("auth"), dict) and "oauth" in json.dumps(entry["auth"]).lower()):
        return "it logs in by OAuth in the client; the proxy cannot"
    if _CREDENTIALS.match(str(entry.get("url") or "")):
        return "has credentials in its URL, where every log shows them; add it with 'mcpwatch add NAME URL -H …'"
    args = cast("list[Any]", entry["args"]) if isinstance(entry.get("args"), list) else []
    words = [str(entry.get("command", "")), *(str(word) for word in args)]
    if any(_WINDOWS.search(word) for word in words) or words[0].lower() in ("cmd", "cmd.exe", "powershell", "powershell.exe"):
        return "it is written for Windows"
    return ""


def _of_compose(name: str, service: dict[str, Any], source: str) -> FoundServer:
    """A compose service as a docker member, when it looks like an MCP server and publishes a port."""
    ours = name if servable(name) else proposal(name)
    text = json.dumps([name, service.get("image"), service.get("command"), service.get("build")], default=str).lower()
    known = {name, str(service.get("image", "")).rpartition("/")[2].partition(":")[0]} & _SERVERS
    if not known and not re.search(r"mcp|/sse|--transport", text):
        return FoundServer(ours, {}, (source,), name, "does not look like an MCP server")
    if "image" not in service:
        return FoundServer(ours, {}, (source,), name, "its image is built; build and name it first")
    port = _published(service.get("ports"))
    if port is None:
        return FoundServer(ours, {}, (source,), name, "publishes no port: name its address with 'mcpwatch add NAME URL'")
    keys = ("image", "command", "environment", "networks", "volumes", "env_file")
    docker = {key: service[key] for key in keys if service.get(key)}
    docker["ports"] = [f"127.0.0.1:{port}:{_inside(service['ports'])}"]
    ignored = tuple(sorted(key for key in service if key not in (*keys, "ports", "container_name", "restart")))
    return FoundServer(ours, {"docker": docker, "url": f"http://127.0.0.1:{port}/sse"}, (source,), name, "", ignored)


def _published(ports: Any) -> int | None:
    if not isinstance(ports, list) or not ports:
        return None
    first: Any = cast("list[Any]", ports)[0]
    if isinstance(first, dict):
        value = cast("dict[str, Any]", first).get("published")
        return int(value) if value else None
    parts = str(first).split("/", maxsplit=1)[0].split(":")
    return int(parts[-2]) if len(parts) > 1 and parts[-2].isdecimal() else None


def _inside(ports: list[Any]) -> str:
    first = ports[0]
    if isinstance(first, dict):
        return str(cast("dict[str, Any]", first).get("target"))
    return str(first).split("/", maxsplit=1)[0].rpartition(":")[2]


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def merged(
    found: Collection[FoundServer], taken: Collection[str], known: Collection[str], own: Collection[str]
) -> tuple[FoundServer, ...]:
    """Each server once, under a name that is free: `taken` are names of the fleet, `known` keys of its members.

    Entries that point at the fleet's own addresses (`own`: `host:port`) are told and left alone.
    """
    made: dict[str, FoundServer] = {}
    rest: list[FoundServer] = []
    names = set(taken)
    for one in found:
        host = urlsplit(str(one.member.get("url") or "")).netloc
        if one.trouble:
            rest.append(one)
        elif host and host in own:
            rest.append(replace(one, trouble="is a route of this fleet already"))
        elif one.key in known:
            rest.append(replace(one, trouble="the fleet has it already"))
        elif one.key in made:
            made[one.key] = replace(made[one.key], sources=tuple(dict.fromkeys((*made[one.key].sources, *one.sources))))
        else:
            name = one.name if one.name not in names else _free(one.name, names)
            names.add(name)
            made[one.key] = replace(one, name=name)
    return (*made.values(), *rest)


def _free(name: str, taken: Collection[str]) -> str:
    return next(f"{name}-{number}" for number in range(2, 1000) if f"{name}-{number}" not in taken)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options say. `only`: names to bring in; `replace_clients`: their own entries become routes."""

    config: Path | None = None
    only: tuple[str, ...] = ()
    replace_clients: bool = False
    test: bool = True
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False
    wait: float = 120.0

    def takes(self, one: FoundServer) -> bool:
        """Whether a server that was found is to be brought in."""
        return not one.trouble and (not self.only or one.name in self.only)
