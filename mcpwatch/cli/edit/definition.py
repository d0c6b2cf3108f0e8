"""What `add` is asked for, and how each file format writes it. Pure: knows no file and no daemon.

Owns `Definition`: one server as data, and its spelling as a member of mcpwatch's YAML or as an entry of `mcpServers`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from mcpwatch.foreign.dialects import BARE, DialectName, convert
from mcpwatch.foreign.document import with_texts
from mcpwatch.foreign.variables import MIN_SECRET, secret_name
from mcpwatch.model.errors import ConfigError, Fault, UsageError
from mcpwatch.model.runtime import traits_of

Transport = Literal["stdio", "sse", "http", "auto"]
CARRIERS = ("stdio", "process", "docker", "swarm")
"""Keys by which an object given to `add-json` is a member of mcpwatch's own format."""

_LONE_DOLLAR = re.compile(r"\$(?!\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\})")
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")
_QUERY = re.compile(r"[?&;]([^=&#;?]+)=([^&#;]+)")


@dataclass(frozen=True, slots=True)
class Definition:
    """One server to add. `command` for a stdio server, `url` for one that answers HTTP; both with `image`: a container.

    `member` is a whole member of mcpwatch's own format, when that was given instead.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    transport: Transport = "auto"
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    bridge: str = ""
    image: str = ""
    networks: tuple[str, ...] = ()
    cwd: str = ""
    description: str = ""
    canary: Mapping[str, Any] | None = None
    member: Mapping[str, Any] | None = None
    secrets: frozenset[str] = frozenset()
    """Names of variables and headers that are secret whatever their name says."""


def from_words(words: Sequence[str], definition: Definition) -> Definition:
    """The definition with what follows NAME: a URL, or a command and its arguments (after `--` with --docker: of the container).

    Raises `UsageError`.
    """
    first = words[0] if words else ""
    is_url = first.startswith(("http://", "https://"))
    rest = tuple(words[1:] if is_url else words)
    if definition.image:
        if not is_url:
            raise UsageError("--docker needs the URL where the container answers, before any command: http://127.0.0.1:8686/sse")
        return _replace(definition, url=first, command=rest)
    if is_url:
        if rest:
            raise UsageError(f"'{rest[0]}' follows a URL; give a URL or a command (that of a container: with --docker)")
        if definition.transport == "stdio" or definition.bridge:
            raise UsageError("a URL is no stdio server; leave --bridge and --transport stdio out")
        return _replace(definition, url=first)
    if definition.transport in ("sse", "http"):
        raise UsageError(
            f"--transport {definition.transport} needs a URL after NAME, e.g. http://127.0.0.1:8000/{definition.transport}"
        )
    if definition.headers:
        raise UsageError("--header goes with a URL; a stdio server gets variables by -e NAME=VALUE")
    return _replace(definition, command=rest)


def _replace(definition: Definition, **changes: Any) -> Definition:
    return replace(definition, **changes)


def anchored(definition: Definition, here: Path, base: Path) -> Definition:
    """The definition with `./` and `../` read from `here`, where it is typed; the file reads them from `base`."""
    if here == base:
        return definition

    def moved(word: str) -> str:
        return str((here / word).resolve()) if word.startswith(("./", "../")) else word

    command = definition.command if definition.image else tuple(moved(word) for word in definition.command)
    return _replace(definition, command=command, cwd=str((here / definition.cwd).resolve()) if definition.cwd else "")


def from_json(text: str) -> Definition:
    """A definition from JSON: an entry as clients write it under `mcpServers`, or a member of mcpwatch's own format.

    Raises `UsageError` for what is no object, `ConfigError` for an entry with neither a command nor a URL.
    """
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError('must be a JSON object, e.g. \'{"command": "uvx", "args": ["mcp-server-time"]}\'')
    entry = cast("dict[str, Any]", found)
    if any(key in entry for key in CARRIERS):
        return Definition(member=entry)
    faults: list[Fault] = []
    whole = convert(
        {"mcpServers": {"server": entry}}, BARE, lambda where, message: faults.append(Fault(".".join(map(str, where[2:])), message))
    )
    if faults:
        raise ConfigError(*faults)
    return Definition(member=cast("dict[str, Any]", whole)["members"]["server"])


def as_member(definition: Definition) -> dict[str, Any]:
    """The definition as a member of mcpwatch's own format."""
    made: dict[str, Any]
    if definition.member is not None:
        made = dict(definition.member)
    elif definition.image:
        made = _container(definition)
    elif definition.url:
        made = {"url": definition.url}
        if definition.transport != "auto":
            made["transport"] = definition.transport
        if definition.headers:
            made["headers"] = _escaped(definition.headers)
    else:
        stdio: dict[str, Any] = {"command": escaped(definition.command[0])}
        if definition.command[1:]:
            stdio["args"] = [escaped(word) for word in definition.command[1:]]
        if definition.env:
            stdio["env"] = _escaped(definition.env)
        if definition.cwd:
            stdio["cwd"] = definition.cwd
        made = {"stdio": stdio}
    if definition.bridge and "stdio" in made:
        made["bridge"] = {"listen": definition.bridge}
    if definition.canary:
        made.setdefault("checks", {"canary": dict(definition.canary)})
    return {"description": definition.description, **made} if definition.description and "description" not in made else made


def _container(definition: Definition) -> dict[str, Any]:
    parts = urlsplit(definition.url)
    docker: dict[str, Any] = {"image": definition.image}
    if definition.command:
        docker["command"] = [escaped(word) for word in definition.command]
    if definition.env:
        docker["environment"] = _escaped(definition.env)
    if definition.networks:
        docker["networks"] = list(definition.networks)
    if parts.hostname in ("127.0.0.1", "localhost") and parts.port:
        docker["ports"] = [f"127.0.0.1:{parts.port}:{parts.port}"]
    made: dict[str, Any] = {"docker": docker, "url": definition.url}
    return made if definition.transport == "auto" else {**made, "transport": definition.transport}


def as_server(definition: Definition, dialect: DialectName) -> dict[str, Any]:
    """The definition as an entry of `mcpServers`. Raises `UsageError` for what that format cannot say."""
    if definition.bridge or definition.image:
        what = "--bridge" if definition.bridge else "--docker"
        raise UsageError(f"{what}: this format has no word for it; make the file ours: 'mcpwatch init --from FILE'")
    member = as_member(definition)
    if any((traits := traits_of(key)).own or traits.container for key in member):
        raise UsageError("this format has only commands and URLs; make the file ours: 'mcpwatch init --from FILE'")
    if "stdio" in member:
        stdio = cast("dict[str, Any]", member["stdio"])
        return {key: _unescaped(stdio[key]) for key in ("command", "args", "env", "cwd") if stdio.get(key)}
    made: dict[str, Any] = {"url": member["url"]}
    wire = member.get("transport", "auto")
    if dialect == "tbxark":
        made["transportType"] = "streamable-http" if wire == "http" else "sse"
    elif wire != "auto":
        made["type"] = wire
    return made | ({"headers": _unescaped(member["headers"])} if member.get("headers") else {})


def escaped(text: str) -> str:
    """`text` for mcpwatch's YAML: `${NAME}` stays a reference, every other dollar sign is doubled."""
    return _LONE_DOLLAR.sub("$$", text)


def _escaped(pairs: Mapping[str, str]) -> dict[str, str]:
    return {key: escaped(value) for key, value in pairs.items()}


def _unescaped(value: Any) -> Any:
    return with_texts(value, lambda text: text.replace("$$", "$"))


def pairs(options: Sequence[str], option: str, separator: str) -> dict[str, str]:
    """`NAME=VALUE` (or `Name: value`) options as a mapping; a bare NAME means `${NAME}`. Raises `UsageError`."""
    made: dict[str, str] = {}
    for text in options:
        name, found, value = text.partition(separator)
        name, value = name.strip(), value.strip() if separator == ":" else value
        if not name or (separator == ":" and not found):
            raise UsageError(
                f"{option} {text!r}: write it as {'NAME=VALUE' if separator == '=' else chr(39) + 'Name: value' + chr(39)}"
            )
        if separator == "=" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(f"{option} {text!r}: {name!r} is no name of a variable")
        made[name] = value if found else f"${{{name}}}"
    return made


def secrets_of(member: Mapping[str, Any], named: frozenset[str] = frozenset()) -> dict[str, str]:
    """The secrets in plain text in a member's variables, headers and URL: by their name, or because they are in `named`."""
    found = {name: value.replace("$$", "$") for name, value, _ in _in_url(member)}
    for block in _secret_blocks(member):
        for name, value in block.items():
            plain = str(value).replace("$$", "$")
            if (name in named or secret_name(name)) and len(plain) >= MIN_SECRET and not _REFERENCE.search(plain):
                found[name] = plain
    return found


def with_references(member: Mapping[str, Any], references: Mapping[str, str]) -> dict[str, Any]:
    """The member with its secrets replaced: `references` maps the name of a variable or header to the text put there."""
    made: dict[str, Any] = copy.deepcopy(dict(member))
    for block in _secret_blocks(made):
        block.update({name: text for name, text in references.items() if name in block})
    for name, _, (begin, end) in sorted(_in_url(made), key=lambda one: one[2], reverse=True):
        made["url"] = made["url"][:begin] + references.get(name, made["url"][begin:end]) + made["url"][end:]
    return made


def _in_url(member: Mapping[str, Any]) -> list[tuple[str, str, tuple[int, int]]]:
    """The secrets of a member's URL: `url_` and their name, their value as it is written there, and where that is."""
    url = member.get("url")
    if not isinstance(url, str):
        return []
    found = [(f"url_{match[1]}", match[2], match.span(2)) for match in _QUERY.finditer(url) if secret_name(match[1])]
    names = [name for name, _, _ in found]
    return [one for one in found if names.count(one[0]) == 1 and len(one[1]) >= MIN_SECRET and not _REFERENCE.search(one[1])]


def _secret_blocks(member: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The mappings of a member that hold variables or headers."""
    carriers = [cast("dict[str, Any]", member[key]) for key in CARRIERS if isinstance(member.get(key), dict)]
    blocks = [member.get("headers"), *(carrier.get(key) for carrier in carriers for key in ("env", "environment"))]
    return [cast("dict[str, Any]", block) for block in blocks if isinstance(block, dict)]
