"""A proxy that others run: watched, never started, nothing rendered. Pure.

Owns: where its routes are. Its traits are those of the kind it is said to be like, because it cannot be inspected.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from mcpwatch.model.proxy import LogHint, RenderedFile
from mcpwatch.model.spec import ProxySpec, Traits
from mcpwatch.ports import ProxyKind
from mcpwatch.registry import Kind, KindSpec

_SHAPES: dict[str, dict[Literal["sse", "http"], str]] = {
    "tbxark": {"sse": "/{name}/sse"},
    "sparfenyuk": {"sse": "/servers/{name}/sse", "http": "/servers/{name}/mcp"},
    "gateway": {"sse": "/{name}/sse", "http": "/{name}/mcp"},
}


def _pattern(value: str) -> str:
    if not value.startswith("/") or "{name}" not in value:
        raise ValueError(f"{value!r} is no route pattern; write a path with {{name}} in it, e.g. /{{name}}/sse")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{value!r} is no origin; write http://host:port")
    return value


Origin = Annotated[str, AfterValidator(_origin)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class RoutePatterns(KindSpec):
    """Paths of a route, from the root of the proxy."""

    sse: Pattern | None = Field(None, description="Legacy SSE, e.g. `/{name}/sse`.")
    http: Pattern | None = Field(None, description="Streamable HTTP, e.g. `/{name}/mcp`.")


class UnmanagedProxySpec(KindSpec):
    """What is known of a proxy that others run."""

    like: Literal["tbxark", "sparfenyuk", "gateway"] = Field(
        "tbxark", description="The kind it is like: decides the shape of its routes."
    )
    url: Origin | None = Field(
        None, description="Where mcpwatch reaches it, when that is not `base_url`, e.g. `http://mcp-proxy:9090` inside its network."
    )
    routes: RoutePatterns | None = Field(None, description="Its route patterns, when it is like none of them.")


class External(ProxyKind):
    """Somebody else's proxy."""

    name = "external"
    traits = Traits(holds_sessions=True, lists_from_cache=True, mounts_late=True, reconnects=False, reloads=False, runs=False)
    """Nothing is taken for granted: its lists may be cached, its sessions stale."""

    def render(self, proxy: ProxySpec, directory: Path) -> tuple[RenderedFile, ...]:  # noqa: ARG002
        """Nothing: its files are not ours."""
        return ()

    def command(self, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing to run."""
        return ()

    def container(self, proxy: ProxySpec, directory: Path) -> Mapping[str, object]:  # noqa: ARG002
        """Nothing to run."""
        return {}

    def routes(self, proxy: ProxySpec, name: str) -> Mapping[Literal["sse", "http"], str]:
        """The patterns as written, else those of the kind it is like."""
        options = UnmanagedProxySpec.or_default(proxy.options)
        written = options.routes
        if written is not None and (written.sse or written.http):
            found: dict[Literal["sse", "http"], str] = {}
            if written.sse:
                found["sse"] = written.sse.replace("{name}", name)
            if written.http:
                found["http"] = written.http.replace("{name}", name)
            return found
        return {way: pattern.replace("{name}", name) for way, pattern in _SHAPES[options.like].items()}

    def root(self, proxy: ProxySpec) -> str:
        """As written, else as clients do."""
        options = UnmanagedProxySpec.or_default(proxy.options)
        parts = urlsplit(options.url or proxy.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def hint(self, line: str) -> LogHint | None:  # noqa: ARG002
        """Its log is not ours to read."""
        return None


KIND: Kind[External] = Kind("external", UnmanagedProxySpec, External, "a proxy that others run: watched, never started")
