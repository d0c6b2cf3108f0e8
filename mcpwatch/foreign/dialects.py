"""Other people's files as ours: TBXark `config.json`, `mcp-servers.json`, sparfenyuk's named servers, AI clients' files. Pure.

A foreign file is taken as its own program takes it: keys we do not know are passed over, names and routes stay. Faults are told at
the place in the *foreign* file, by `Dialect.place`. The configuration, the importer and the gateway all read such files by this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mcpwatch.foreign.document import Path, Value
from mcpwatch.foreign.server import FAULTY, Complain, member, proposal, servable

DialectName = Literal["mcpwatch", "tbxark", "mcp-servers", "sparfenyuk"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One format: its name, whether `$VAR` without braces is a variable in it, and where our paths stand in it.

    `servers` is where its servers are; `title` what it is for people.
    """

    name: DialectName
    dollar: bool = False
    places: tuple[tuple[Path, Path], ...] = ()
    """Pairs of our path and theirs; `*` is the member's name."""
    servers: tuple[str, ...] = ("mcpServers",)
    title: str = ""

    def place(self, path: Path) -> Path:
        """Where `path` of the converted document stands in the file that the user wrote."""
        for ours, theirs in sorted(self.places, key=lambda pair: -len(pair[0])):
            if len(path) >= len(ours) and all(step in {"*", path[index]} for index, step in enumerate(ours)):
                name = path[ours.index("*")] if "*" in ours else ""
                return (*(name if step == "*" else step for step in theirs), *path[len(ours) :])
        return path


def _member_places(servers: Path, *more: tuple[Path, Path]) -> tuple[tuple[Path, Path], ...]:
    return (
        (("members", "*", "stdio"), (*servers, "*")),
        (("members", "*"), (*servers, "*")),
        (("members",), servers),
        *more,
    )


_SERVERS: Path = ("mcpServers",)
OURS = Dialect("mcpwatch")
TBXARK = Dialect(
    "tbxark",
    dollar=True,
    title="a TBXark config.json",
    places=_member_places(
        _SERVERS,
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
BARE = Dialect(
    "mcp-servers",
    title="an mcp-servers.json",
    places=_member_places(_SERVERS, (("members", "*", "transport"), ("mcpServers", "*", "type"))),
)
SPARFENYUK = Dialect(
    "sparfenyuk",
    title="a sparfenyuk named-server file",
    places=_member_places(_SERVERS, (("members", "*", "transport"), ("mcpServers", "*", "transportType"))),
)


def _bare(title: str, *servers: str) -> Dialect:
    return replace(BARE, title=title, servers=servers, places=_member_places(servers))


_ELSEWHERE = (
    _bare("a settings.json of VS Code", "mcp", "servers"),
    _bare("a Codex or LiteLLM configuration", "mcp_servers"),
    _bare("a settings.json of Zed", "context_servers"),
)
VSCODE = _bare("an mcp.json of VS Code", "servers")


def detect(data: Value) -> Dialect:
    """Which format a document is in, by its top-level keys."""
    if not isinstance(data, dict) or "members" in data:
        return OURS
    if "mcpProxy" in data:
        return TBXARK
    if "mcpServers" in data:
        servers = data["mcpServers"]
        named = isinstance(servers, dict) and any(isinstance(server, dict) and "enabled" in server for server in servers.values())
        return SPARFENYUK if named else BARE
    for dialect in _ELSEWHERE:
        if isinstance(_at(data, dialect.servers), dict):
            return dialect
    servers = data.get("servers")
    if isinstance(servers, dict) and "version" not in data and all(isinstance(server, dict) for server in servers.values()):
        return VSCODE
    return OURS


def misplaced(data: Value) -> str:
    """What a document is that is none of ours and none that can be read here, or the empty string."""
    if not isinstance(data, dict):
        return ""
    if isinstance(data.get("services"), dict) and not {"members", "proxy"} & data.keys():
        return "is a compose file; name its containers as members with 'docker:', or watch them by 'url:'"
    if {"server", "clients"} <= data.keys() and isinstance(data["clients"], dict) and "members" not in data:
        return "is in TBXark's first format ('server' and 'clients'); write it as 'mcpProxy' and 'mcpServers' first"
    return ""


def convert(data: Value, dialect: Dialect, complain: Complain, renamed: dict[str, str] | None = None) -> Value:
    """The document in our own format. What is wrong in a way that only this dialect can tell goes to `complain`.

    With `renamed`, names that no route can have are changed, and noted there as new name to old; without, they are faults.
    """
    if dialect is OURS or not isinstance(data, dict):
        return data
    made: dict[str, Value] = {"proxy": _proxy(data.get("mcpProxy", {}), complain)}
    servers = _at(data, dialect.servers)
    if not isinstance(servers, dict):
        complain(dialect.servers, "is missing" if servers is None else "must be a mapping of names to servers")
        return made
    members: dict[str, Value] = {}
    for name, server in servers.items():
        path: Path = (*dialect.servers, name)
        ours = name if servable(name) else proposal(name, {*servers, *members})
        members[ours] = member(path, server, sse=dialect is TBXARK, complain=complain)
        if ours != name and renamed is not None:
            renamed[ours] = name
        elif ours != name:
            complain(path, f"no route can be called so; rename it, e.g. '{ours}' ('mcpwatch init --from' does)")
            members[ours] = dict(FAULTY)
    made["members"] = members
    return made


def demanded(faults: Iterable[tuple[Path, str]], raw: Value) -> Iterator[tuple[Path, str]]:
    """The faults of variables in a document of our own format that matter: what a disabled member says is not read."""
    found = _at(raw, ("members",))
    members = found if isinstance(found, dict) else {}
    off = {name for name, made in members.items() if isinstance(made, dict) and made.get("enabled") is False}
    for where, message in faults:
        if where[:1] != ("members",) or where[1] not in off:
            yield where, message


def _at(data: Value, path: tuple[str, ...]) -> Value:
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data


def _proxy(written: Value, complain: Callable[[Path, str], None]) -> Value:
    if not isinstance(written, dict):
        complain(("mcpProxy",), "must be a mapping")
        return {}
    keys: Mapping[str, str] = {"addr": "listen", "baseURL": "base_url"}
    made: dict[str, Value] = {"kind": "gateway"}
    made |= {ours: written[theirs] for theirs, ours in keys.items() if written.get(theirs) is not None}
    options = written.get("options", {})
    if isinstance(options, dict):
        if options.get("authTokens"):
            made["auth"] = {"tokens": options["authTokens"]}
    elif options is not None:
        complain(("mcpProxy", "options"), "must be a mapping")
    return made
