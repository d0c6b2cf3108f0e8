"""Codex CLI: `~/.codex/config.toml`, a trusted project's, or the system's."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.toml import Toml
from mcpwatch.clients.route import ClientEntry, Entry, switched


class CodexCliSpec(ClientSpec, frozen=True):
    """Codex CLI."""

    can_disable: ClassVar[bool] = True
    kind: Literal["codex-cli"] = "codex-cli"
    scope: Literal["user", "project", "system"] = "user"


def _remote(link: ClientEntry) -> Entry:
    return {"url": link.url, **({"bearer_token_env_var": link.token_env} if link.bearer else {})}


ADAPTER = Adapter(
    title="Codex CLI",
    syntax=Toml(),
    container=("mcp_servers",),
    places={
        "user": Location(linux=("${CODEX_HOME:-~/.codex}/config.toml",)),
        "project": Location(linux=(".codex/config.toml",), note="Read only when Codex trusts the project."),
        "system": Location(linux=("/etc/codex/config.toml",), note="Merged with every user's own file; needs root to write."),
    },
    wires=("http",),
    reference="NAME",
    remote=_remote,
    disabled=switched("enabled", False),
    reload="restart running sessions",
    summary="Speaks Streamable HTTP only; reads the token from the named variable, which `~/.codex/.env` may hold.",
)
