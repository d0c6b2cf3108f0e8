"""A canary for a server that the catalogue knows, proposed to what is brought in. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from mcpwatch.cli.importing.found import FoundServer
from mcpwatch.config.catalog import Entry, catalog
from mcpwatch.foreign.launchers import launched

INTERVAL = "5m"
"""How often it is called: a real call costs more than a list of tools."""

_PLACE = re.compile(r"\{\w+\}")
_VERSION = re.compile(r"(?<=.)(?:[=<>~!]=|[<>@]).*$|\[.*$")


def with_canary(one: FoundServer) -> FoundServer:
    """The same, with the canary of the catalogue when it is a known server that has no check of its own."""
    made = proposed(one.member)
    return replace(one, member={**one.member, "checks": {"canary": made}}, proposed=str(made["tool"])) if made else one


def without_canary(one: FoundServer) -> FoundServer:
    """The same as it was before a canary was proposed."""
    return replace(one, member={key: item for key, item in one.member.items() if key != "checks"}, proposed="")


def proposed(member: Mapping[str, Any]) -> dict[str, Any] | None:
    """The canary for a member in our format; `None` where none is known, or where it needs what only a person knows."""
    if member.get("checks"):
        return None
    entry = known(member)
    if entry is None or entry.canary is None:
        return None
    canary = entry.canary.model_dump(exclude_defaults=True)
    if _PLACE.search(json.dumps(canary)):
        return None
    return {"interval": INTERVAL, **canary}


def known(member: Mapping[str, Any]) -> Entry | None:
    """The catalogue's entry for what a member runs: by its package, or by the program that the package brings."""
    stdio = cast("dict[str, Any]", member.get("stdio") or {})
    words = [str(stdio.get("command") or ""), *(str(word) for word in stdio.get("args") or ())]
    launch = launched(words)
    runtime, package = (launch.launcher, _VERSION.sub("", launch.package)) if launch else ("uvx", words[0].rpartition("/")[2])
    return next((entry for entry in catalog().values() if entry.package == package and entry.runtime == runtime), None)
