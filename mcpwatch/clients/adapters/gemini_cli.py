"""Gemini CLI: an extension of our own, or the user's or project's `settings.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import model_validator

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import Element, Path, Value
from mcpwatch.clients.route import ClientEntry, typed


class GeminiCliSpec(ClientSpec, frozen=True):
    """Gemini CLI."""

    can_disable: ClassVar[bool] = True
    kind: Literal["gemini-cli"] = "gemini-cli"
    scope: Literal["user", "project", "extension"] = "user"

    @model_validator(mode="after")
    def _settings_can_disable(self) -> GeminiCliSpec:
        if self.policy == "disable" and self.scope == "extension":
            raise ValueError("policy: an extension cannot disable its servers; use scope user, or policy remove or keep")
        return self


def _extras(scope: str, on: Sequence[ClientEntry], off: Sequence[ClientEntry]) -> dict[Path, Value]:
    if scope == "extension":
        return {("name",): "mcpwatch", ("version",): "1.0.0"} if (*on, *off) else {}
    return {("mcp", "excluded", Element("", link.name)): link.name for link in off}


ADAPTER = Adapter(
    title="Gemini CLI",
    syntax=Jsonc(),
    places={
        "user": Location(linux=("~/.gemini/settings.json",)),
        "project": Location(linux=(".gemini/settings.json",)),
        "extension": Location(
            linux=("~/.gemini/extensions/mcpwatch/gemini-extension.json",),
            note="A file of our own that no other program writes; entries of the same name in settings.json win.",
        ),
    },
    reference="${NAME}",
    remote=typed("sse", "http"),
    disabled=dict,
    extras=_extras,
    reload="restart running sessions",
    summary="When it saves its settings it writes secrets in place of references; mcpwatch puts the references back.",
)
