"""Every client mcpwatch knows, in one explicit tuple, and the section of the user's file that names some of them. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Union, cast

from pydantic import ConfigDict, Field, RootModel, model_validator

from mcpwatch.clients.adapter import Adapter, Client, ClientSpec
from mcpwatch.clients.adapters import (
    claude_code,
    claude_desktop,
    cline,
    codex_cli,
    continue_dev,
    copilot_cli,
    cursor,
    gemini_cli,
    goose,
    kiro,
    litellm,
    lmstudio,
    mcpo,
    open_webui,
    opencode,
    qwen_code,
    vscode,
    windsurf,
    zed,
)
from mcpwatch.model.errors import suggest
from mcpwatch.registry import Kind, find


def _kind(adapter: Adapter, spec: type[ClientSpec]) -> Kind[Client]:
    return Kind(str(spec.model_fields["kind"].default), spec, partial(Client, adapter), adapter.title)


CLIENTS: tuple[Kind[Client], ...] = (
    _kind(claude_code.ADAPTER, claude_code.ClaudeCodeSpec),
    _kind(claude_desktop.ADAPTER, claude_desktop.ClaudeDesktopSpec),
    _kind(vscode.ADAPTER, vscode.VSCodeSpec),
    _kind(copilot_cli.ADAPTER, copilot_cli.CopilotCliSpec),
    _kind(cursor.ADAPTER, cursor.CursorSpec),
    _kind(windsurf.ADAPTER, windsurf.WindsurfSpec),
    _kind(gemini_cli.ADAPTER, gemini_cli.GeminiCliSpec),
    _kind(qwen_code.ADAPTER, qwen_code.QwenCodeSpec),
    _kind(codex_cli.ADAPTER, codex_cli.CodexCliSpec),
    _kind(opencode.ADAPTER, opencode.OpencodeSpec),
    _kind(cline.ADAPTER, cline.ClineSpec),
    _kind(continue_dev.ADAPTER, continue_dev.ContinueSpec),
    _kind(zed.ADAPTER, zed.ZedSpec),
    _kind(lmstudio.ADAPTER, lmstudio.LMStudioSpec),
    _kind(goose.ADAPTER, goose.GooseSpec),
    _kind(kiro.ADAPTER, kiro.KiroSpec),
    _kind(mcpo.ADAPTER, mcpo.McpoSpec),
    _kind(open_webui.ADAPTER, open_webui.OpenWebUISpec),
    _kind(litellm.ADAPTER, litellm.LiteLLMSpec),
)
"""All kinds of clients: a new one is a file in `adapters/` and a line here."""

if TYPE_CHECKING:
    AnySpec = ClientSpec
else:
    AnySpec = Annotated[Union[tuple(kind.spec for kind in CLIENTS)], Field(discriminator="kind")]  # noqa: UP007


class ClientsSection(RootModel[tuple[AnySpec, ...]], frozen=True):
    """The key `clients` of the user's file: a list, one entry per client file."""

    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)
    root: tuple[AnySpec, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, written: Any) -> Any:
        """Refuse an unknown kind with a suggestion."""
        if not isinstance(written, (list, tuple)):
            return written
        for index, item in enumerate(cast("Sequence[Any]", written)):
            kind: Any = cast("dict[str, Any]", item).get("kind") if isinstance(item, dict) else None
            if not isinstance(kind, str) or find(CLIENTS, kind) is None:
                known = [known.name for known in CLIENTS]
                what = f"unknown client {kind!r}{suggest(str(kind), known)}" if kind else f"needs 'kind'{suggest('', known)}"
                raise ValueError(f"[{index}]: {what}")
        return cast("object", written)

    @model_validator(mode="after")
    def _one_each(self) -> ClientsSection:
        """Refuse a second entry for one file: two would take each other's entries for edits."""
        first: dict[str, int] = {}
        for index, client in enumerate(self.made()):
            spec = client.spec
            home = FilePath("/home-of-this-user")
            for path in client.adapter.locate(spec, home, sys.platform, {}) or (getattr(spec, "url", spec.kind),):
                other = first.setdefault(str(path), index)
                if other != index:
                    raise ValueError(f"[{index}]: is the same file as [{other}]; make it one entry, with all its 'routes'")
        return self

    def made(self) -> tuple[Client, ...]:
        """The clients, each with its adapter."""
        return tuple(_made(spec) for spec in self.root)


def made(written: Mapping[str, Any]) -> Client:
    """The client that a user wrote so. Raises pydantic's `ValidationError`."""
    return ClientsSection.model_validate([dict(written)]).made()[0]


def _made(spec: ClientSpec) -> Client:
    kind = find(CLIENTS, spec.kind)
    assert kind is not None
    return kind.make(spec)


def adapter(kind: str) -> Adapter | None:
    """The adapter called `kind`, or `None`."""
    found = find(CLIENTS, kind)
    return found.make(None).adapter if found else None
