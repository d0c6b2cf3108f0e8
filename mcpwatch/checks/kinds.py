"""The kinds of checks a user may write. The keys every check has (interval, timeout, expect, tool …) belong to `config`."""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field

from mcpwatch.registry import Kind, KindSpec

Options = tuple[tuple[str, str], ...]
"""What `CheckSpec.options` holds: every key that was set, as text."""


class McpCheck(KindSpec):
    """Speaks MCP from handshake to close; with `tool` (a common key) it is a canary."""

    safe_call: bool = Field(
        False,
        description="Call one read-only tool that needs arguments without any: the upstream's own validation error proves the way.",
    )
    hold: float = Field(
        0, ge=0, le=3600, description="Leave the session idle for this many seconds, then ping it: shows what cuts idle streams."
    )


class RefusalCheck(KindSpec):
    """Must be refused: once without a token, once with a wrong one. For guarded routes."""


class HttpCheck(KindSpec):
    """GETs a URL and looks at its status and text. Proves little: use it beside `mcp`, never instead."""

    path: str = Field("", description="Path to GET, from the root of the target. Default: the target's own URL.")
    status: tuple[int, ...] = Field((), description="Statuses that are fine. Default: 200 to 299.")


class TcpCheck(KindSpec):
    """Connects to the port (with a TLS handshake for https) and hangs up."""


def options(spec: KindSpec) -> Options:
    """The keys of a kind's spec as `CheckSpec.options`: `true`/`false`, numbers as written, lists with commas."""
    made: list[tuple[str, str]] = []
    for key, value in spec.model_dump(exclude_defaults=True).items():
        if isinstance(value, bool):
            made.append((key, "true" if value else "false"))
        elif isinstance(value, (tuple, list)):
            made.append((key, ",".join(str(item) for item in cast("list[Any]", value))))
        else:
            made.append((key, str(value)))
    return tuple(made)


CHECKS: tuple[Kind[Options], ...] = (
    Kind("mcp", McpCheck, options, "speaks MCP: handshake, tools/list, canary, safe call"),
    Kind("refusal", RefusalCheck, options, "a guarded route must refuse a caller without a token"),
    Kind("http", HttpCheck, options, "GET a URL: status and text"),
    Kind("tcp", TcpCheck, options, "connect to the port"),
)
