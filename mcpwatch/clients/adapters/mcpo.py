"""mcpo: the file given to it with `--config`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import typed


class McpoSpec(ClientSpec, frozen=True):
    """mcpo."""

    kind: Literal["mcpo"] = "mcpo"
    scope: Literal["user"] = "user"
    path: str


ADAPTER = Adapter(
    title="mcpo",
    syntax=Jsonc(strict=True),
    places={"user": Location(linux=("config.json",), note="mcpo has no file of its own: 'path' names the one you start it with.")},
    remote=typed("sse", "streamable-http"),
    refuses_empty=True,
    reload="restart it after a removal: `--hot-reload` only adds",
    summary="Will not start with an empty map, so the last entry stays; expands no variable in headers.",
)
