"""Continue: the `mcpServers` list of `~/.continue/config.yaml`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.clients.route import ClientEntry, Entry, stdio_typed


class ContinueSpec(ClientSpec, frozen=True):
    """Continue."""

    kind: Literal["continue"] = "continue"
    scope: Literal["user"] = "user"


def _remote(link: ClientEntry) -> Entry:
    entry: Entry = {"type": "sse" if link.wire == "sse" else "streamable-http", "url": link.url}
    return {**entry, "requestOptions": {"headers": link.headers}} if link.headers else entry


ADAPTER = Adapter(
    title="Continue",
    syntax=Yaml(),
    places={"user": Location(linux=("~/.continue/config.yaml",))},
    reference="${{ secrets.NAME }}",
    remote=_remote,
    stdio=stdio_typed,
    listed_by="name",
    reload="restart `cn`, reload the window of the IDE",
    summary="`cn -p` fails when one server fails: a list that follows health keeps it working.",
)
