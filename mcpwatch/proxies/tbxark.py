"""TBXark/mcp-proxy as a proxy kind: its config.json, its routes, what its log lines mean, and the traits of its three generations.

Owns: everything that is special about it, every trap of it made harmless. Pure: writes nothing, runs nothing, asks nothing.

Three generations are in the field, told apart by looking (`generation_of_help`, `generation_of_ready`, `generation_of_line`).
A, up to v0.43.2, and B, of July 2026, keep an upstream session for ever and never mount a late member. C reconnects and mounts
late, but only where `autoReconnect` is on, which we always write: A and B read past it. See docs/proxies/tbxark.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.proxy import KeptFile, LogHint, LogMeaning, ProxyObservation, RenderedFile
from mcpwatch.model.spec import ProxySpec, Traits, UpstreamSpec
from mcpwatch.ports import CHILD_MARK, ProxyKind
from mcpwatch.registry import Kind, KindSpec
from mcpwatch.units import Duration, seconds

Generation = Literal["A", "B", "C", ""]
INSIDE = "/config"
"""Where a container of it finds its configuration."""
_OPTIONS = frozenset({"timeout", "panicIfInvalid", "logEnabled", "disabled", "oauth", "toolFilter"})
_GO_LOG = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:<(?P<member>[^>]+)> )?(?P<text>.*)$")
_SLOG = re.compile(r"^time=\S+ level=(?P<level>\w+) msg=(?P<text>\"(?:[^\"\\]|\\.)*+\"|\S++)(?P<rest>.*)$")
EXHAUSTED = re.compile(r"too many open files|EMFILE", re.IGNORECASE)
_CLIENT = re.compile(r"\bclient=(\"[^\"]*\"|\S+)")


class TbxarkSpec(KindSpec):
    """What only TBXark/mcp-proxy understands."""

    binary: str = Field("mcp-proxy", description="The program, found on PATH or given as a path. Not used with `docker`.")
    config: str | None = Field(
        None, description="An existing config.json whose other entries are served too. It is read, never written."
    )
    type: Literal["sse", "streamable-http"] = Field("sse", description="The one wire it serves.")
    name: str = Field("mcp-proxy", description="The name it tells clients.")
    ping_interval: Duration = Field(10.0, description="How often the newest builds look at their upstreams.")
    reconnect_interval: Duration = Field(5.0, description="How often the newest builds try to reach a lost upstream.")


class Tbxark(ProxyKind):
    """Renders config.json; the program is the user's own build or image."""

    name = "tbxark"
    asks = "/_readyz"
    traits = Traits(
        holds_sessions=True,
        lists_from_cache=True,
        mounts_late=False,
        reconnects=False,
        reloads=False,
        dies_on_bad_command=True,
        serves=("sse",),
        wire_by_path=True,
    )
    """Those of generation A: the worst, until looking says better."""

    def render(self, proxy: ProxySpec, directory: Path) -> tuple[RenderedFile, ...]:
        """config.json with the plan's members; 0600, for it holds the tokens. Raises `ConfigError` for what it cannot express."""
        options = TbxarkSpec.or_default(proxy.options)
        faults = [fault for upstream in proxy.upstreams for fault in _faults(upstream)]
        if faults:
            raise ConfigError(*faults)
        body = {
            "mcpProxy": {
                "baseURL": proxy.base_url,
                "addr": _address(proxy),
                "name": options.name,
                "version": "1.0.0",
                "type": options.type,
                "startupGracePeriod": "30s",
                "options": {
                    "panicIfInvalid": False,
                    "logEnabled": False,
                    "authTokens": list(proxy.tokens),
                    "autoReconnect": True,
                    "pingInterval": _go(options.ping_interval),
                    "reconnectInterval": _go(options.reconnect_interval),
                },
            },
            "mcpServers": {upstream.name: _server(upstream, proxy, directory) for upstream in proxy.upstreams},
        }
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        return (RenderedFile(_path(directory), text, 0o600, _kept(options, proxy)),)

    def command(self, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:
        """The program, with expansion of `$` in the file switched off: what we write is meant as written."""
        return (TbxarkSpec.or_default(proxy.options).binary, "-config", str(_path(directory)), "-expand-env=false")

    def container(self, proxy: ProxySpec, directory: Path) -> Mapping[str, object]:
        """What a container of it needs beside its image: the directory of its file, and the port it is published on."""
        path = _path(directory)
        host, _, port = proxy.listen.rpartition(":")
        return {
            "command": ["-config", f"{INSIDE}/{path.name}", "-expand-env=false"],
            "volumes": [f"{path.parent}:{INSIDE}:ro"],
            "ports": [f"{host}:{port}:{port}"],
        }

    def routes(self, proxy: ProxySpec, name: str) -> Mapping[Literal["sse", "http"], str]:
        """`/<name>/sse`, or `/<name>/mcp` where it serves Streamable HTTP: one of them, never both."""
        return (
            {"http": f"/{name}/mcp"} if TbxarkSpec.or_default(proxy.options).type == "streamable-http" else {"sse": f"/{name}/sse"}
        )

    def learn(self, look: ProxyObservation) -> Traits:
        """The traits of the generation that this shows: its own answer first, then its usage, then the shape of its log."""
        asked = generation_of_ready(look.status, look.body) if look.status else ""
        told = generation_of_help(look.usage)
        if asked == "B" and told == "C":  # all is well, which C says as B always does
            return traits_of("C")
        return traits_of(asked or told or generation_of_line(look.line))

    def hint(self, line: str) -> LogHint | None:
        """What a line of its log means; both log shapes are read."""
        if EXHAUSTED.search(line):
            return LogHint("", "exhausted", line[:300])
        if match := _GO_LOG.match(line):
            return _hint(match["member"] or "", match["text"])
        if match := _SLOG.match(line):
            client = _CLIENT.search(match["rest"])
            return _hint(client[1].strip('"') if client else "", match["text"].strip('"') + match["rest"])
        return None


def generation_of_help(text: str) -> Generation:
    """The generation by what `-help` lists."""
    if "-doctor" in text or "-auth-status" in text:
        return "C"
    if "-check-config" in text:
        return "B"
    return "A" if "-expand-env" in text else ""


def generation_of_ready(status: int, body: str) -> Generation:
    """The generation by the answer to `GET /_readyz`: none in A, always 200 in B, the truth in C."""
    if status == 404:
        return "A"
    try:
        state = str(json.loads(body).get("status", ""))
    except (ValueError, AttributeError):
        return ""
    if status == 503 or state in {"initializing", "degraded", "unavailable", "ready"}:
        return "C"
    return "B" if status == 200 and state == "ok" else ""


def generation_of_line(line: str) -> Generation:
    """The generation by the shape of a log line: A by Go's plain log; B and C share theirs, so the worse is taken."""
    if _SLOG.match(line):
        return "B"
    return "A" if _GO_LOG.match(line) else ""


def traits_of(generation: Generation) -> Traits:
    """The traits of a generation; unknown is taken for the worst."""
    if generation == "C":
        better = replace(Tbxark.traits, mounts_late=True, reconnects=True, dies_on_bad_command=False)
        return replace(better, generation="C", health="/_healthz")
    return replace(Tbxark.traits, generation=generation)


def _path(directory: Path) -> Path:
    return directory / "proxy" / "config.json"


def _kept(options: TbxarkSpec, proxy: ProxySpec) -> KeptFile | None:
    """The user's own file, and what of ours gives way to it: whatever neither the plan nor the repair of this proxy needs."""
    if not options.config:
        return None
    written = options.model_fields_set
    names = [("name", "name"), ("version", ""), ("startupGracePeriod", "")]
    yields: list[tuple[str, ...]] = [("mcpProxy", key) for key, ours in names if ours not in written]
    more = [("logEnabled", ""), ("pingInterval", "ping_interval"), ("reconnectInterval", "reconnect_interval")]
    yields += [("mcpProxy", "options", key) for key, ours in more if ours not in written]
    yields += [] if proxy.tokens else [("mcpProxy", "options", "authTokens")]
    return KeptFile(Path(options.config).expanduser().absolute(), expand=True, yields=tuple(yields))


def _address(proxy: ProxySpec) -> str:
    """Inside a container it listens on every address of that container; what is published is the runtime's business."""
    return f":{proxy.listen.rpartition(':')[2]}" if proxy.contained else proxy.listen


def _faults(upstream: UpstreamSpec) -> list[Fault]:
    """What this proxy cannot do, said before it is tried."""
    asked = cast("dict[str, Any]", json.loads(upstream.options))
    where = f"members.{upstream.name}"
    tools: dict[str, Any] = asked.get("tools") or {}
    found: list[Fault] = []
    if tools.get("rename"):
        found.append(Fault(f"{where}.tools.rename", "a proxy of kind 'tbxark' cannot rename tools; remove it, or use kind gateway"))
    if tools.get("allow") and tools.get("block"):
        found.append(Fault(f"{where}.tools", "a proxy of kind 'tbxark' takes allow or block, not both; keep allow"))
    unknown = sorted(asked.keys() - _OPTIONS - {"tools", "sessions"})
    found += [
        Fault(f"{where}.proxy_options.{key}", f"unknown to a proxy of kind 'tbxark'; known: {', '.join(sorted(_OPTIONS))}")
        for key in unknown
    ]
    if "timeout" in asked:
        try:
            seconds(asked["timeout"])
        except ValueError as error:
            found.append(Fault(f"{where}.proxy_options.timeout", str(error)))
    return found


def _server(upstream: UpstreamSpec, proxy: ProxySpec, directory: Path) -> dict[str, Any]:
    asked = cast("dict[str, Any]", json.loads(upstream.options))
    options: dict[str, Any] = {
        key: asked[key] for key in ("panicIfInvalid", "logEnabled", "disabled", "toolFilter") if key in asked
    }
    tools: dict[str, Any] = asked.get("tools") or {}
    for mode in ("allow", "block"):
        if tools.get(mode):
            options["toolFilter"] = {"mode": mode, "list": tools[mode]}
    if upstream.tokens:
        options["authTokens"] = list(upstream.tokens)
    made: dict[str, Any] = {"oauth": asked["oauth"]} if "oauth" in asked else {}
    if upstream.transport == "stdio":
        command, *args = _child(upstream, proxy, directory)
        made |= {
            "transportType": "stdio",
            "command": command,
            "args": args,
            "env": {**dict(upstream.env), CHILD_MARK: upstream.name},
        }
    else:
        headers = {"headers": dict(upstream.headers)} if upstream.headers else {}
        # Without the word this proxy takes any URL for SSE, also one that ends in /mcp.
        wire = "sse" if upstream.wire_by_path == "sse" else "streamable-http"
        made |= {"transportType": wire, "url": upstream.url, **headers}
        if "timeout" in asked:
            made["timeout"] = round(seconds(asked["timeout"]) * 1_000_000_000)  # nanoseconds: the one form all generations take
    if options:
        made["options"] = options
    return made


def _child(upstream: UpstreamSpec, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:
    """A stdio server as this proxy may run it: with its stderr going somewhere, because the pipe it would get is not read.

    A child that writes 64 KiB of stderr to generation A or B hangs for ever. The journal's raw file, or the container's own stderr,
    takes any amount.
    """
    sink = "/proc/1/fd/2" if proxy.contained else str(directory / "logs" / upstream.name / "stderr.raw")
    change = f"cd {_quoted(upstream.cwd)} && " if upstream.cwd else ""
    make = "" if proxy.contained else f"mkdir -p {_quoted(str(Path(sink).parent))}; "
    return ("/bin/sh", "-c", f'{make}{change}exec "$0" "$@" 2>>{_quoted(sink)}', upstream.command, *upstream.args)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _go(duration: float) -> str:
    """A duration as Go reads it."""
    return f"{round(duration * 1000)}ms"


_MEANINGS: tuple[tuple[str, LogMeaning], ...] = (
    ("Failed to load config", "bad_config"),
    ("Failed to add client", "failed"),
    ("Failed to initialize client", "failed"),
    ("MCP Ping failed", "lost"),
    ("MCP health probe failed", "lost"),
    ("MCP Ping recovered", "connected"),
    ("Handling requests at", "connected"),
    ("Connected", "connected"),
    ("Connecting", "connecting"),
    ("All clients initialized", "ready"),
    ("Failed to start server", "failed"),
)


def _hint(member: str, text: str) -> LogHint | None:
    for words, meaning in _MEANINGS:
        if text.startswith(words):
            return LogHint(member, meaning, text[:300])
    return None


KIND: Kind[Tbxark] = Kind("tbxark", TbxarkSpec, Tbxark, "TBXark/mcp-proxy, as a program or in a container")
