"""The fleet as services that run without mcpwatch: a bridge per stdio server, native servers as they are, one proxy in front. Pure.

From the file as written, so that references stay references; a secret in plain text becomes one. See ADR 0083.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from mcpwatch.config.catalog import catalog
from mcpwatch.foreign.launchers import launched
from mcpwatch.foreign.variables import MIN_SECRET, secret_name

PORT = 8080
"""Where every bridge serves inside its container."""
BRIDGE = "mcp-proxy==0.13.0"
"""The program that bridges a stdio server: sparfenyuk's mcp-proxy, from PyPI."""
PROXY_MODULE = "github.com/TBXark/mcp-proxy@v0.43.2"
NETWORK = "mcp-net"
MEMORY = "256m"

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_PATH = re.compile(r"(?:--?[A-Za-z][\w-]*=)?(/[^\x00-\x1f\x7f]+)")
"""A word of a command that names a file or directory of this machine, by itself or as the value of an option."""


@dataclass(frozen=True, slots=True)
class ExportedService:
    """One container. `image` as it is, or built from `pip` and `npm` packages; `environment` holds references, never secrets."""

    name: str
    description: str
    command: tuple[str, ...]
    port: int
    path: str
    image: str = ""
    bridge: str = ""
    """The package that serves it over SSE. It is installed apart from `pip`: the two may need other versions of one library."""
    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    networks: tuple[str, ...] = (NETWORK,)
    volumes: tuple[str, ...] = ()
    memory: str = MEMORY
    notes: tuple[str, ...] = ()
    config: str = ""
    """Text of the file that the proxy reads."""
    published: str = ""
    """`host:port` on the host, of the proxy alone."""
    route: str = ""
    """A route that the proxy's health check speaks to."""

    @property
    def host(self) -> str:
        """Its name on the network, and of its container."""
        return f"mcp-{re.sub(r'[^a-z0-9-]+', '-', self.name.lower()).strip('-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables that it must be given."""
        texts = [*self.environment.values(), self.config, *self.command]
        return tuple(sorted({match[1] for text in texts for match in _REFERENCE.finditer(text) if match[2] is None}))


@dataclass(frozen=True, slots=True)
class ExportedFleet:
    """All services, the proxy last, and what could not be taken along: `(member, why)`."""

    services: tuple[ExportedService, ...]
    proxy: ExportedService
    left: tuple[tuple[str, str], ...]


def fleet(document: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]) -> ExportedFleet:
    """The services of a fleet: `document` for its proxy, `members` in mcpwatch's own format, both as written."""
    services: list[ExportedService] = []
    left: list[tuple[str, str]] = []
    servers: dict[str, Any] = {}
    for name, member in sorted(members.items()):
        if member.get("enabled") is False:
            left.append((name, "it is switched off"))
            continue
        made = _service(name, member)
        if isinstance(made, str):
            left.append((name, made))
            continue
        if made is not None:
            services.append(made)
        if member.get("route") is not False:
            servers[str(member.get("route") or name)] = _server(member, made)
    return ExportedFleet(tuple(services), _proxy(document, servers), tuple(left))


def _service(name: str, member: Mapping[str, Any]) -> ExportedService | str | None:
    """The container of a member; `None` for one that others run; why there is none."""
    about = str(member.get("description", ""))
    if "stdio" in member:
        return _bridge(name, about, cast("dict[str, Any]", member["stdio"]))
    if "docker" in member:
        return _native(name, about, cast("dict[str, Any]", member["docker"]), str(member.get("url", "")))
    if "process" in member or "swarm" in member:
        return (
            "a process of this machine has no container; give it 'docker:' or 'stdio:'"
            if "process" in member
            else "it is of a swarm"
        )
    return None


def _bridge(name: str, about: str, stdio: Mapping[str, Any]) -> ExportedService:
    words = [str(stdio.get("command", "")), *(str(word) for word in stdio.get("args") or ())]
    command, pip, npm, notes = _installed(words)
    if stdio.get("cwd"):
        notes = (*notes, f"it runs in {stdio['cwd']} on the old machine; mount what it needs from there")
    environment = _references(name, stdio.get("env"))
    if paths := sorted({match[1] for text in (*words[1:], *environment.values()) if (match := _PATH.fullmatch(text))}):
        notes = (*notes, f"it names {', '.join(paths)} of the old machine: see that it is there where it runs now")
    passed = ("--pass-environment",) if environment else ()
    argv = ("mcp-proxy", "--host", "0.0.0.0", "--port", str(PORT), *passed, "--", *command)  # noqa: S104 - inside a container
    return ExportedService(name, about, argv, PORT, "/sse", bridge=BRIDGE, pip=pip, npm=npm, environment=environment, notes=notes)


def _installed(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """A command with its package installed beforehand: `(argv, pip packages, npm packages, notes)`."""
    launch = launched(words)
    if launch is not None:
        mark = "==" if launch.launcher == "uvx" else "@"
        package = _pinned(launch.package, mark)
        notes = () if launch.pinned or package != launch.package else (f"{package} has no version: write one into the Dockerfile",)
        if launch.launcher == "npx":
            return ("npx", "--no", launch.command, *launch.args), (), (package,), notes
        notes += (f"it asked for Python {launch.python}: see that the base image has it",) if launch.python else ()
        return (launch.command, *launch.args), (package, *launch.more), (), notes
    program, rest = words[0].rpartition("/")[2], words[1:]
    known = next((entry for entry in catalog().values() if entry.package == program and entry.runtime == "uvx"), None)
    if known is not None:
        return (program, *rest), (f"{known.package}=={known.version}",), (), ()
    return (program, *rest), (), (), (f"how '{program}' is installed is not known: add it to the Dockerfile",)


def _pinned(package: str, mark: str) -> str:
    """The package with a version: its own, else the catalogue's."""
    if re.search(r"==|(?<=.)@", package):
        return package.replace("@", "==") if mark == "==" and "==" not in package and "git+" not in package else package
    known = next((entry for entry in catalog().values() if entry.package == package), None)
    return f"{package}{mark}{known.version}" if known else package


def _native(name: str, about: str, docker: Mapping[str, Any], url: str) -> ExportedService | str:
    if "image" not in docker:
        return (
            "it watches a container of others" if "container" in docker else "its image is built from a directory; build it first"
        )
    parts = urlsplit(url)
    command = docker.get("command") or ()
    argv = tuple(command.split()) if isinstance(command, str) else tuple(str(word) for word in command)
    written: Any = docker.get("networks") or (NETWORK,)
    networks = (written,) if isinstance(written, str) else tuple(str(one) for one in written)
    environment = _references(name, docker.get("environment"))
    notes = ("volumes of the old machine: see that they are here",) if docker.get("volumes") else ()
    return ExportedService(
        name,
        about,
        argv,
        parts.port or PORT,
        parts.path or "/sse",
        image=str(docker["image"]),
        environment=environment,
        networks=networks,
        volumes=tuple(str(volume) for volume in docker.get("volumes") or ()),
        memory=str(docker.get("memory", MEMORY)),
        notes=notes,
    )


def _references(name: str, written: Any) -> dict[str, str]:
    """An environment with every secret in plain text made a reference."""
    pairs: dict[str, Any] = {}
    if isinstance(written, dict):
        pairs = cast("dict[str, Any]", written)
    elif isinstance(written, list):
        pairs = dict(str(item).split("=", 1) for item in cast("list[Any]", written) if "=" in str(item))
    made: dict[str, str] = {}
    for key, value in sorted(pairs.items()):
        text = str(value)
        plain = secret_name(key) and len(text) >= MIN_SECRET and not _REFERENCE.search(text)
        made[key] = f"${{{key if key.isupper() else _variable(name, key)}}}" if plain else text
    return made


def _variable(*words: str) -> str:
    return re.sub(r"\W", "_", "_".join(words)).upper()


def _server(member: Mapping[str, Any], service: ExportedService | None) -> dict[str, Any]:
    """How the proxy reaches a member."""
    url = f"http://{service.host}:{service.port}{service.path}" if service else str(member.get("url", ""))
    wire = "streamable-http" if member.get("transport") == "http" or urlsplit(url).path.endswith("/mcp") else "sse"
    made: dict[str, Any] = {"url": url, "transportType": wire}
    if member.get("headers"):
        made["headers"] = _references("upstream", member["headers"])
    tools = cast("dict[str, Any]", member.get("tools") or {})
    mode = next((mode for mode in ("allow", "block") if tools.get(mode)), None)
    if mode:
        made["options"] = {"toolFilter": {"mode": mode, "list": tools[mode]}}
    return made


def _proxy(document: Mapping[str, Any], servers: Mapping[str, Any]) -> ExportedService:
    written: Any = document.get("proxy") or {}
    theirs: Any = document.get("mcpProxy") or {}
    listen = str(written.get("listen") or theirs.get("addr") or "127.0.0.1:9090")
    port = int(listen.rpartition(":")[2] or 9090)
    base = str(written.get("base_url") or theirs.get("baseURL") or f"http://127.0.0.1:{port}")
    auth: dict[str, Any] = written.get("auth") or {}
    options: dict[str, Any] = theirs.get("options") or {}
    tokens: list[Any] = auth.get("tokens") or options.get("authTokens") or []
    named = [str(token) if _REFERENCE.search(str(token)) else "${MCP_PROXY_TOKEN}" for token in tokens]
    config = _proxy_config(base, port, list(dict.fromkeys(named)), servers)
    inside = [name for name in sorted(servers) if str(servers[name]["url"]).startswith("http://mcp-")]
    route = next(iter((*inside, *sorted(servers))), "")
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    environment = {match[1]: match[0] for match in _REFERENCE.finditer(text)}
    near = [f"{name}: {servers[name]['url']}" for name in sorted(servers) if _loopback(str(servers[name]["url"]))]
    return ExportedService(
        "proxy",
        "The proxy in front: the only one that clients reach",
        ("python3", "/start.py", "mcp-proxy", "-config", "/config/config.json"),
        port,
        f"/{route}/sse" if route else "/",
        environment=dict(sorted(environment.items())),
        config=text,
        published=f"127.0.0.1:{port}",
        route=route,
        notes=tuple(
            f"{one} is on loopback, which in a container is the container; write where it is reached from there" for one in near
        ),
    )


def _proxy_config(base: str, port: int, tokens: Sequence[str], servers: Mapping[str, Any]) -> dict[str, Any]:
    """TBXark's config.json, before its secrets are filled in."""
    return {
        "mcpProxy": {
            "baseURL": base,
            "addr": f":{port}",
            "name": "mcp-proxy",
            "version": "1.0.0",
            "type": "sse",
            "options": {"panicIfInvalid": False, "logEnabled": True, **({"authTokens": tokens} if tokens else {})},
        },
        "mcpServers": {name: {"options": {}, **servers[name]} for name in sorted(servers)},
    }


def _loopback(url: str) -> bool:
    """Whether a URL leads to whoever asks."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
