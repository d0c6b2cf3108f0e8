"""What a client is to be given: a public route, the link to it, and the shapes of entries that several clients share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mcpwatch.clients.formats.path import Value
from mcpwatch.model.spec import RouteSpec

Entry = dict[str, Value]
Wire = Literal["sse", "http"]


@dataclass(frozen=True, slots=True)
class ClientRoute:
    """One public route: the URL for each wire it is served on (empty: not served), and whether it asks for a token."""

    name: str
    sse: str = ""
    http: str = ""
    guarded: bool = False

    def url(self, wire: Wire) -> str:
        """Its URL for `wire`, or the empty string."""
        return self.sse if wire == "sse" else self.http


def client_route(spec: RouteSpec) -> ClientRoute:
    """A route of the plan as clients see it: `url` is SSE unless the proxy serves nothing but `/mcp`."""
    only_http = spec.url == spec.http_url or spec.probe.transport in ("http", "stateless")
    return ClientRoute(spec.name, "" if only_http else spec.url, spec.http_url or (spec.url if only_http else ""), spec.guarded)


@dataclass(frozen=True, slots=True)
class ClientEntry:
    """One entry to be spelled by an adapter: its name in the client, the wire and URL, and how the token gets there.

    `bearer` is the whole value of the Authorization header (a reference or, if allowed, the token itself), empty for an open
    route; `token` is the literal token for clients that reference nothing, else empty.
    """

    name: str
    wire: Wire
    url: str
    bearer: str = field(default="", repr=False)
    token_env: str = ""
    token: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers to send, ready for an entry."""
        return {"Authorization": self.bearer} if self.bearer else {}


@dataclass(frozen=True, slots=True)
class Bridge:
    """A stdio program that speaks to the route for a client that cannot: its argv and what its environment must hold."""

    name: str
    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def bridge(program: Literal["mcp-proxy", "mcp-remote"], link: ClientEntry) -> Bridge:
    """The argv of PyPI `mcp-proxy` or npm `mcp-remote` for `link`; the token travels in the environment, never in argv."""
    if program == "mcp-proxy":
        wire = ("--transport", "streamablehttp") if link.wire == "http" else ()
        env = (("API_ACCESS_TOKEN", link.token),) if link.token else ()
        return Bridge(link.name, "mcp-proxy", (*wire, link.url), env)
    header = ("--header", f"Authorization:Bearer ${{{link.token_env}}}") if link.token else ()
    env = ((link.token_env, link.token),) if link.token else ()
    return Bridge(link.name, "npx", ("-y", "mcp-remote@0.15.1", link.url, "--allow-http", *header), env)


def _headers(link: ClientEntry) -> Entry:
    return {"headers": link.headers} if link.headers else {}


def typed(sse: str, http: str, **more: Value) -> Callable[[ClientEntry], Entry]:
    """`{"type": …, "url": …, "headers": …}`, with this client's words for the two wires; `more` comes last."""
    return lambda link: {"type": sse if link.wire == "sse" else http, "url": link.url, **_headers(link), **more}


def plain(**more: Value) -> Callable[[ClientEntry], Entry]:
    """`{"url": …, "headers": …}`: the client finds the wire out itself."""
    return lambda link: {"url": link.url, **_headers(link), **more}


def stdio_plain(bridge: Bridge) -> Entry:
    """`{"command": …, "args": …, "env": …}`."""
    return {"command": bridge.command, "args": list(bridge.args), **({"env": dict(bridge.env)} if bridge.env else {})}


def stdio_typed(bridge: Bridge) -> Entry:
    """The same with `"type": "stdio"`."""
    return {"type": "stdio", **stdio_plain(bridge)}


def switched(key: str, value: bool) -> Callable[[Entry], Entry]:
    """The entry with one key set to what disables it."""
    return lambda entry: {**entry, key: value}
