"""Qwen Code: `~/.qwen/settings.json` and a project's `.qwen/settings.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import ClientEntry, Entry


class QwenCodeSpec(ClientSpec, frozen=True):
    """Qwen Code."""

    kind: Literal["qwen-code"] = "qwen-code"
    scope: Literal["user", "project"] = "user"


def _remote(link: ClientEntry) -> Entry:
    entry: Entry = {"url" if link.wire == "sse" else "httpUrl": link.url}
    return {**entry, "headers": link.headers} if link.headers else entry


ADAPTER = Adapter(
    title="Qwen Code",
    syntax=Jsonc(),
    places={"user": Location(linux=("~/.qwen/settings.json",)), "project": Location(linux=(".qwen/settings.json",))},
    reference="${NAME}",
    remote=_remote,
    reload="restart running sessions",
    summary="When it saves its settings it writes secrets in place of references; mcpwatch puts the references back.",
)
