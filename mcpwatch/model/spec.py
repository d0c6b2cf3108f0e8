"""The plan: the whole desired fleet, as frozen data. Written by `config.plan`, read by everyone, free of file formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from mcpwatch.model.probe import Canary, Expect, Target, Transport, Vantage
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.runtime import RuntimeTraits, traits_of
from mcpwatch.model.wire import names_sse

MemberKind = Literal["proxy", "bridge", "server"]
CheckKindName = str


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One rule: what to probe, from where, how often, and what counts.

    `interval` in seconds or `cron` (five fields), never both. `timeout` is the absolute deadline of the whole probe.
    """

    name: str
    kind: CheckKindName = "mcp"
    vantages: tuple[Vantage, ...] = ("direct", "route")
    interval: float | None = 30.0
    cron: str | None = None
    timeout: float = 10.0
    failure_threshold: int = 3
    success_threshold: int = 1
    expect: Expect = Expect()
    canary: Canary | None = None
    contract: Literal["ignore", "warn", "degrade", "quarantine"] = "warn"
    safe_call: bool = False
    """Lists prove nothing here: call a read-only tool too, unless the kind's own options say otherwise."""
    options: object = None
    """The frozen spec of the check's kind, as written; `None` for its defaults."""

    @property
    def proves(self) -> bool:
        """Whether its success proves that who is asked works: to be refused without a token, no server need be there."""
        return self.kind != "refusal"


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One member to supervise.

    `runtime` names the room that carries it, `carrier` is that runtime's own frozen spec (command, image …).
    `direct` is where the member itself answers MCP, `None` when nothing outside its runtime can reach it (hosted).
    `fingerprint` changes when, and only when, a running incarnation must be replaced.
    """

    name: str
    kind: MemberKind
    runtime: str
    carrier: object = field(repr=False)
    fingerprint: str = ""
    direct: Target | None = None
    route: str | None = None
    checks: tuple[CheckSpec, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    start_grace: float = 60.0
    """Seconds from start to first proven health before a start counts as failed (uvx and npx start cold)."""
    stop_grace: float = 10.0
    depends_on: tuple[str, ...] = ()
    want_up: bool = True
    description: str = ""

    @property
    def carried(self) -> RuntimeTraits:
        """What is special about its runtime."""
        return traits_of(self.runtime)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One public name on the proxy. `url` is what clients are given; `probe` is where and how we look (maybe over loopback)."""

    name: str
    member: str
    url: str
    probe: Target
    http_url: str | None = None
    """The `/mcp` twin of `url` when the proxy serves Streamable HTTP too."""
    checks: tuple[CheckSpec, ...] = ()
    guarded: bool = False
    """True when the route has tokens, so that a caller without one must be refused."""


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """How the proxy reaches one member: a stdio command it hosts itself, or a URL."""

    name: str
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cwd: str | None = None
    url: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tokens: tuple[str, ...] = field(default=(), repr=False)
    """Tokens of this route alone; empty means those of the proxy."""
    options: str = "{}"
    """JSON text of what only some proxy kinds understand (tool filters, isolation …)."""

    @property
    def picks_tools(self) -> bool:
        """Whether clients are shown only tools that are named."""
        asked: dict[str, Any] = json.loads(self.options)
        own, theirs = cast("dict[str, Any]", asked.get("tools") or {}), cast("dict[str, Any]", asked.get("toolFilter") or {})
        return bool(own.get("allow")) or theirs.get("mode") == "allow"

    @property
    def wire_by_path(self) -> Literal["sse", "http"]:
        """The wire that a proxy uses which never finds out: as written, else SSE where the path ends in `/sse`."""
        return "sse" if self.transport == "sse" or (self.transport == "auto" and names_sse(self.url)) else "http"


@dataclass(frozen=True, slots=True)
class Traits:
    """What is special about a proxy, found by looking where it can be.

    `holds_sessions`: keeps its upstream session for ever, so a restarted member stays lost until the proxy restarts.
    `lists_from_cache`: answers initialize, tools/list and ping with the upstream dead.
    `mounts_late`: a member that was down at the proxy's start gets its route when it comes up.
    `reconnects`, `reloads`, `dies_on_bad_command`: as the words say. `nudges`: it can be asked to try an upstream at once.
    """

    holds_sessions: bool = False
    lists_from_cache: bool = False
    mounts_late: bool = True
    reconnects: bool = True
    reloads: bool = True
    dies_on_bad_command: bool = False
    nudges: bool = False
    serves: tuple[Literal["sse", "http"], ...] = ("sse", "http")
    generation: str = ""
    health: str = ""
    """Path on the proxy that answers 200 while the proxy itself lives; empty when it has none."""
    runs: bool = True
    """We run it and write what it serves; one that others run is only watched, and hosts no server for us."""
    wire_by_path: bool = False
    """It never finds out what an upstream speaks: as written, else by the end of its path."""
    embedded: bool = False
    """It is our own program: it takes trust, sessions and restart policies of its members, and is asked by its admin socket."""


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """The proxy in front: what it is, where it listens, what it serves. `member` is its name in the fleet."""

    kind: str
    member: str
    listen: str
    base_url: str
    tokens: tuple[str, ...] = field(default=(), repr=False)
    upstreams: tuple[UpstreamSpec, ...] = ()
    options: object = field(default=None, repr=False)
    """The proxy kind's own frozen spec."""
    contained: bool = False
    """Whether it runs in a container: then it listens on every address of that, and finds its files where they are mounted."""
    traits: Traits = Traits()
    process: str = ""
    """Of a proxy that reloads: differs when, and only when, another process of it is to read the file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole desired fleet. `members` are in start order: members first, the proxy last.

    `sections` holds what the other rooms asked config to validate for them: room name to that room's own frozen spec.
    """

    members: tuple[MemberSpec, ...] = ()
    proxy: ProxySpec | None = None
    routes: tuple[RouteSpec, ...] = ()
    sections: tuple[tuple[str, object], ...] = ()
    source: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every secret value the plan holds, for the redaction filter."""
    secret_files: tuple[str, ...] = ()
    """The files from which some of them were read: a change of one is a change of the plan."""
    _member: Mapping[str, MemberSpec] = field(init=False, repr=False, compare=False)
    _route: Mapping[str, RouteSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find members and routes by name in a time that does not grow with the fleet: each check asks."""
        object.__setattr__(self, "_member", {member.name: member for member in self.members})
        object.__setattr__(self, "_route", {route.name: route for route in self.routes})

    def member(self, name: str) -> MemberSpec | None:
        """The member of that name, or `None`."""
        return self._member.get(name)

    def route(self, name: str) -> RouteSpec | None:
        """The route of that name, or `None`."""
        return self._route.get(name)

    def section(self, room: str) -> object | None:
        """The spec that `room` asked for, or `None` when the user wrote nothing."""
        return next((spec for name, spec in self.sections if name == room), None)


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """What a reload must do, by member name: `retune` changes checks or policies without touching the process."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    retune: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    """Rooms whose own section changed (`telemetry`, `alerts` …)."""

    def __bool__(self) -> bool:
        return bool(self.add or self.remove or self.replace or self.retune or self.sections)
