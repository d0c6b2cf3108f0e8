"""The reference of AI clients, from their adapters and specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcpwatch.clients.adapter import Adapter, ClientSpec
from mcpwatch.clients.catalog import CLIENTS, made
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.route import ClientRoute
from mcpwatch.registry import KindSpec
from mcpwatch.units import spell_seconds

PAGE = "docs/reference/clients.md"
ROUTE = ClientRoute("time", "http://linuxserver.lan:9090/time/sse", "http://linuxserver.lan:9090/time/mcp", guarded=True)
WIRES = {"sse": "SSE", "http": "Streamable HTTP"}

_HEAD = """\
# Clients reference

<!-- Made by `make docs` from mcpwatch/clients. Do not edit. -->

How to use them: [Give every AI client the routes that work](../how-to/clients.md).

`clients` is a list; each entry is one file of one client. These keys are the same for all:
"""


def pages() -> Mapping[str, str]:
    """The page, by path from the root of the repository."""
    return {PAGE: "\n".join(_lines()).rstrip("\n") + "\n"}


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from ("| key | default | |", "|---|---|---|")
    yield from (
        f"| `{name}` | {_default(ClientSpec, name)} | {_words(ClientSpec, name)} |"
        for name in ClientSpec.model_fields
        if name != "kind"
    )
    yield from (
        "",
        "## All clients",
        "",
        "| kind | client | speaks | token | disables | takes effect |",
        "|---|---|---|---|---|---|",
    )
    for kind in CLIENTS:
        adapter = _adapter(kind.name)
        speaks = ", ".join(WIRES[wire] for wire in adapter.wires) or "stdio, by a bridge"
        token = f"`{_reference(adapter)}`" if adapter.reference else "literal only"
        disables = "yes" if getattr(kind.spec, "can_disable", False) else "no: removes"
        yield f"| [`{kind.name}`](#{kind.name}) | {adapter.title} | {speaks} | {token} | {disables} | {adapter.reload} |"
    for kind in CLIENTS:
        yield from ("", *_client(kind.name, kind.spec))


def _client(name: str, spec: type[KindSpec]) -> Iterator[str]:
    adapter = _adapter(name)
    yield from (f"## {name}", "", f"{adapter.title}. {adapter.summary}".strip(), "")
    yield from ("| scope | file | |", "|---|---|---|")
    for scope, place in adapter.places.items():
        files = {"Linux": place.linux, "macOS": place.darwin, "Windows": place.win32}
        shown = "<br>".join(
            f"{system}: {_files(paths)}" if place.darwin or place.win32 else _files(paths)
            for system, paths in files.items()
            if paths
        )
        yield f"| `{scope}` | {shown or 'none'} | {place.note} |"
    own = [key for key in spec.model_fields if key not in ClientSpec.model_fields]
    if own:
        yield from ("", "| key | default | |", "|---|---|---|")
        yield from (f"| `{key}` | {_default(spec, key)} | {_words(spec, key)} |" for key in own)
    written = "`, `".join(str(step) for step in adapter.container)
    yield from (
        "",
        f"Written under `{written}`:",
        "",
        f"```{adapter.syntax.name.replace('jsonc', 'json')}",
        _sample(adapter, name).rstrip("\n"),
        "```",
    )


def _sample(adapter: Adapter, name: str) -> str:
    client = made({"kind": name, "allow_literal": True, **_required(name)})
    wanted = adapter.wanted(client.spec, [ROUTE], [], "YOUR_TOKEN")
    return edit(adapter.syntax, "", dict(wanted.entries)).text


def _adapter(name: str) -> Adapter:
    return made({"kind": name, **_required(name)}).adapter


def _required(name: str) -> dict[str, str]:
    return {
        "open-webui": {"url": "http://127.0.0.1:3000"},
        "mcpo": {"path": "config.json"},
        "litellm": {"path": "config.yaml"},
    }.get(name, {})


def _reference(adapter: Adapter) -> str:
    return adapter.reference.replace("NAME", "MCP_PROXY_TOKEN")


def _files(paths: tuple[str, ...]) -> str:
    return ", else ".join(f"`{path}`" for path in dict.fromkeys(paths))


def _default(spec: type[KindSpec], name: str) -> str:
    field = spec.model_fields[name]
    if field.is_required():
        return "must be given"
    if name.startswith("hold_"):
        return f"`{spell_seconds(field.default)}`"
    return (
        ""
        if field.default in (None, (), "")
        else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    )


def _words(spec: type[KindSpec], name: str) -> str:
    return spec.model_fields[name].description or ""
