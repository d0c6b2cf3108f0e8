"""What an adapter is: one AI client's file, spelled as data and two small functions. Pure; opens nothing.

Owns the spec every client shares, the expansion of places per platform, and the step from routes to the entries a client should
hold. Must not know any one client.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from mcpwatch.clients.formats.path import Element, Path, Syntax, Value
from mcpwatch.clients.route import Bridge, ClientEntry, ClientRoute, Wire, bridge, stdio_plain
from mcpwatch.registry import KindSpec
from mcpwatch.units import Duration

Policy = Literal["remove", "disable", "keep"]


class ClientSpec(KindSpec, frozen=True):  # pyright: ignore[reportGeneralTypeIssues] - frozen by its configuration
    """What a user writes for one client, whatever its kind."""

    can_disable: ClassVar[bool] = False

    kind: str
    scope: str = Field("user", description="Which of the client's files.")
    path: str | None = Field(None, description="The file itself, when it is not where the client puts it.")
    project: str | None = Field(None, description="Project directory, for `scope: project`.")
    policy: Policy = Field("remove", description="What happens to the entry of a route that is down.")
    hold_up: Duration = Field(5.0, description="How long a route must be healthy before it is listed.")
    hold_down: Duration = Field(60.0, description="How long a route must be unhealthy before it is not.")
    routes: tuple[str, ...] = Field(
        (), description="Only routes that match one of these patterns (`*` and `?`), and none that matches a pattern after `!`."
    )
    prefix: str = Field("", pattern=r"^[A-Za-z0-9_-]*$", description="Put before every name, to stay clear of your own entries.")
    transport: Literal["auto", "sse", "http"] = Field("auto", description="The wire to list, when the route is served on both.")
    bridge: Literal["none", "mcp-proxy", "mcp-remote"] = Field("none", description="Stdio bridge where the client cannot connect.")
    token_env: str = Field("MCP_PROXY_TOKEN", pattern=r"^[A-Za-z_]\w*$", description="The variable that holds the token.")
    allow_literal: bool = Field(False, description="Allow the token itself in the file, where the client knows no reference.")
    drift: Literal["respect", "overwrite"] = Field("respect", description="What happens to an entry of ours that you edited.")

    @model_validator(mode="after")
    def _sound(self) -> ClientSpec:
        if self.policy == "disable" and not self.can_disable:
            raise ValueError(f"policy: {self.kind} has no way to disable an entry; use remove or keep")
        if self.scope == "project" and not (self.project or self.path):
            raise ValueError("scope: project needs 'project: DIRECTORY' (or 'path: FILE')")
        return self


@dataclass(frozen=True, slots=True)
class Location:
    """Where one scope's file is: candidates in order; the first that exists is meant, the last is made when none does.

    Templates: `~` is the home directory, `${NAME:-default}` the environment, a relative path starts at the project. `lock`
    is the client's own protocol; `note` is what a person must know about this file.
    """

    linux: tuple[str, ...]
    darwin: tuple[str, ...] = ()
    win32: tuple[str, ...] = ()
    container: Path | None = None
    lock: Literal["", "mkdir"] = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A route that a client cannot be given, and why."""

    route: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The members a client's file should hold, most in the container `box`.

    `routes` names the route of an entry; what is not there only supports entries.

    `reference` is how the client spells the token's variable: some clients write the token itself in its place.
    """

    box: Path = ()
    entries: Mapping[Path, Value] = field(default_factory=dict[Path, Value], repr=False)
    routes: Mapping[Path, str] = field(default_factory=dict[Path, str])
    reference: str = ""
    skipped: tuple[Skipped, ...] = ()


def _as_is(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One AI client. `reference` spells a variable inside a header (`NAME` stands for it; empty: the client knows none)."""

    title: str
    syntax: Syntax
    container: Path = ("mcpServers",)
    places: Mapping[str, Location]
    wires: tuple[Wire, ...] = ("sse", "http")
    reference: str = ""
    remote: Callable[[ClientEntry], dict[str, Value]] | None = None
    stdio: Callable[[Bridge], dict[str, Value]] | None = stdio_plain
    disabled: Callable[[dict[str, Value]], dict[str, Value]] | None = None
    listed_by: str = ""
    extras: Callable[[str, Sequence[ClientEntry], Sequence[ClientEntry]], dict[Path, Value]] | None = None
    rename: Callable[[str], str] = _as_is
    refuses_empty: bool = False
    reload: str = "restart it"
    summary: str = ""

    def locate(self, spec: ClientSpec, home: FilePath, platform: str, env: Mapping[str, str]) -> tuple[FilePath, ...]:
        """Candidates for the file, absolute unless `path` or `project` is relative. The shell takes the first that exists."""
        if spec.path:
            return (FilePath(_expand(spec.path, home, env)),)
        place = self.places[spec.scope]
        templates = {"darwin": place.darwin, "win32": place.win32}.get(platform) or place.linux
        base = FilePath(_expand(spec.project or "", home, env))
        return tuple(base / _expand(template, home, env) for template in templates)

    def box(self, spec: ClientSpec) -> Path:
        """The container of our entries in the file of this scope."""
        return self.places[spec.scope].container or self.container

    def wanted(self, spec: ClientSpec, on: Sequence[ClientRoute], off: Sequence[ClientRoute], token: str = "") -> Wanted:
        """The entries for the routes that are listed (`on`) and, under `policy: disable`, for those that are not (`off`)."""
        entries: dict[Path, Value] = {}
        names: dict[Path, str] = {}
        skipped: list[Skipped] = []
        links: tuple[list[ClientEntry], list[ClientEntry]] = ([], [])
        for route, listed in [*((route, True) for route in on), *((route, False) for route in off)]:
            found = self._entry(spec, route, token)
            if isinstance(found, str):
                skipped.append(Skipped(route.name, found))
                continue
            link, entry = found
            path = self._path(spec, link.name)
            if path in entries:
                skipped.append(Skipped(route.name, f"its name here, '{link.name}', is already taken by route '{names[path]}'"))
                continue
            named = {self.listed_by: link.name} if self.listed_by and "." not in self.listed_by else {}
            value = {**named, **(entry if listed or self.disabled is None else self.disabled(entry))}
            entries[path], names[path] = value, route.name
            links[0 if listed else 1].append(link)
        entries |= self.extras(spec.scope, *links) if self.extras else {}
        return Wanted(self.box(spec), entries, names, self._reference(spec), tuple(skipped))

    def _path(self, spec: ClientSpec, name: str) -> Path:
        return (*self.box(spec), Element(self.listed_by, name) if self.listed_by else name)

    def _reference(self, spec: ClientSpec) -> str:
        return self.reference.replace("NAME", spec.token_env)

    def _entry(self, spec: ClientSpec, route: ClientRoute, token: str) -> tuple[ClientEntry, dict[str, Value]] | str:
        """The link and its entry, or why there is none."""
        name = self.rename(spec.prefix + route.name)
        if self.remote is not None:
            wire = self._wire(spec, route, self.wires)
            if wire is not None:
                needs_literal = route.guarded and not self.reference
                if needs_literal and (why := _no_literal(spec, token, self.title)):
                    return why
                bearer = f"Bearer {self._reference(spec) or token}" if route.guarded else ""
                link = ClientEntry(name, wire, route.url(wire), bearer, spec.token_env, token if needs_literal else "")
                return link, self.remote(link)
        if self.stdio is None or spec.bridge == "none":
            return f"{self.title} speaks {_spell(self.wires)} only, and this route is not served so; set 'bridge: mcp-proxy'"
        wire = self._wire(spec, route, ("sse", "http"))
        if wire is None:
            return f"this route is not served over {spec.transport}"
        if route.guarded and (why := _no_literal(spec, token, f"A stdio bridge for {self.title}")):
            return why
        link = ClientEntry(name, wire, route.url(wire), "", spec.token_env, token if route.guarded else "")
        return link, self.stdio(bridge(spec.bridge, link))

    @staticmethod
    def _wire(spec: ClientSpec, route: ClientRoute, wires: tuple[Wire, ...]) -> Wire | None:
        return next((wire for wire in wires if route.url(wire) and spec.transport in ("auto", wire)), None)


@dataclass(frozen=True, slots=True)
class Client:
    """One client the user asked for: its adapter and what was written for it."""

    adapter: Adapter
    spec: ClientSpec = field(repr=False)


def chosen(spec: ClientSpec, routes: Sequence[ClientRoute]) -> tuple[ClientRoute, ...]:
    """The routes that this client is meant to have."""
    never = [pattern[1:] for pattern in spec.routes if pattern.startswith("!")]
    only = [pattern for pattern in spec.routes if not pattern.startswith("!")] or ["*"]
    return tuple(route for route in routes if _matches(route.name, only) and not _matches(route.name, never))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _spell(wires: tuple[Wire, ...]) -> str:
    names = {"sse": "SSE", "http": "Streamable HTTP"}
    return " and ".join(names[wire] for wire in wires) or "stdio"


def _no_literal(spec: ClientSpec, token: str, who: str) -> str:
    if not spec.allow_literal:
        return f"{who} knows no reference for the token; 'allow_literal: true' writes the token itself into the file"
    return "" if token else "the proxy's token is not known here"


_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def _expand(template: str, home: FilePath, env: Mapping[str, str]) -> str:
    text = _VARIABLE.sub(lambda match: env.get(match[1]) or match[2], template)
    return f"{home}{text[1:]}" if text == "~" or text.startswith("~/") else text
