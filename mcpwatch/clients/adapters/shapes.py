"""Entry shapes that several clients share. Pure; knows no client by name."""

from __future__ import annotations

from collections.abc import Callable

from mcpwatch.clients.formats.path import Value
from mcpwatch.clients.route import Bridge, ClientEntry

Entry = dict[str, Value]


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
