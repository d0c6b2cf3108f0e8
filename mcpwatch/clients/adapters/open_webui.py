"""Open WebUI: no file; its list of tool servers is read and written over its admin API as JSON text."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import ClientEntry, Entry


class OpenWebUISpec(ClientSpec, frozen=True):
    """Open WebUI."""

    can_disable: ClassVar[bool] = True
    kind: Literal["open-webui"] = "open-webui"
    scope: Literal["api"] = "api"
    path: None = None
    url: str = Field(pattern=r"^https?://", description="Where Open WebUI answers.")
    api_key_env: str = Field(
        "OPEN_WEBUI_API_KEY", pattern=r"^[A-Za-z_]\w*$", description="The variable that holds an admin's API key."
    )


_KEYS = ("url", "path", "type", "auth_type", "key", "headers", "config", "info", "x_mcpwatch")
"""What an element of ours has, in the order in which we write it."""


def as_written(element: Entry) -> Entry:
    """An element of ours as it was written: Open WebUI orders its keys anew, and fills in what it knows and we do not."""
    if not element.get("x_mcpwatch"):
        return element
    ours = {key: element[key] for key in _KEYS if key in element}
    return ours | {key: value for key, value in element.items() if key not in ours and value}


def _remote(link: ClientEntry) -> Entry:
    return {
        "url": link.url,
        "path": "",
        "type": "mcp",
        "auth_type": "bearer" if link.bearer else "none",
        "key": link.token,
        "headers": None,
        "config": {"enable": True},
        "info": {"id": link.name, "name": link.name},
        "x_mcpwatch": True,
    }


ADAPTER = Adapter(
    title="Open WebUI",
    syntax=Jsonc(strict=True),
    container=("TOOL_SERVER_CONNECTIONS",),
    places={
        "api": Location(linux=(), note="Kept in its database; written through its API, which replaces the whole list at once.")
    },
    wires=("http",),
    remote=_remote,
    stdio=None,
    disabled=lambda entry: {**entry, "config": {"enable": False}},
    listed_by="info.id",
    reload="at once",
    summary="Speaks Streamable HTTP only; the token is kept in its database, so a guarded route needs `allow_literal: true`.",
)
