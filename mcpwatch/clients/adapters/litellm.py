"""LiteLLM proxy: `mcp_servers` at the top of its `config.yaml`."""

from __future__ import annotations

import re
from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.clients.route import ClientEntry, Entry, stdio_plain


class LiteLLMSpec(ClientSpec, frozen=True):
    """LiteLLM."""

    kind: Literal["litellm"] = "litellm"
    scope: Literal["user"] = "user"
    path: str


def _remote(link: ClientEntry) -> Entry:
    entry: Entry = {"url": link.url, "transport": link.wire}
    return {**entry, "auth_type": "bearer_token", "auth_value": f"os.environ/{link.token_env}"} if link.bearer else entry


ADAPTER = Adapter(
    title="LiteLLM",
    syntax=Yaml(),
    container=("mcp_servers",),
    places={
        "user": Location(linux=("config.yaml",), note="LiteLLM has no file of its own: 'path' names the one you start it with.")
    },
    reference="os.environ/NAME",
    remote=_remote,
    stdio=lambda bridge: {"transport": "stdio", **stdio_plain(bridge)},
    rename=lambda name: re.sub(r"\W", "_", name, flags=re.ASCII),
    reload="restart it",
    summary="Refuses to start when a name holds `-`, so names are written with `_`.",
)
