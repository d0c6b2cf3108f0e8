"""`list`: the members as the file writes them, and how they are when a watchdog runs. Needs no daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from mcpwatch.cli import exits
from mcpwatch.cli.edit.fleet_file import FleetFile, read_fleet_file
from mcpwatch.cli.edit.proof import daemon_on, one_of
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, table, terminal_width
from mcpwatch.config import yaml
from mcpwatch.model.errors import ConfigError, Fault, McpwatchError

Format = Literal["table", "names", "json", "yaml"]
_SHOWN = 60


def list_members(config: Path | None, form: Format) -> int:
    """Print the members of the file. Values of `env`, `headers` and tokens are never shown.

    Raises `ConfigError` with every fault of the file, after what could be listed was.
    """
    file = read_fleet_file(file_in_use(config))
    faults = file.faults()
    rows = [row(file, name, faults) for name in file.members]
    status: dict[str, Any] | None = None
    if form in ("table", "json"):
        with contextlib.suppress(McpwatchError):
            status = daemon_on(file.path)
    for one in rows:
        one["state"] = _state(one, status)
    if form == "names":
        for one in rows:
            say(one["name"])
    elif form == "json":
        say_json(rows)
    elif form == "yaml":
        members = {
            one["name"]: {key: one[key] for key in ("how", "runs", "enabled", "description") if one[key] != ""} for one in rows
        }
        say(yaml.dump({"members": members}).rstrip("\n"))
    else:
        cells = [(one["name"], one["how"], one["runs"][:_SHOWN], one["state"], one["description"]) for one in rows]
        for line in table(("NAME", "HOW", "RUNS", "STATE", "DESCRIPTION"), cells, colour=coloured(), width=terminal_width()):
            say(line)
    if faults:
        raise ConfigError(*faults)
    return exits.OK


def row(file: FleetFile, name: str, faults: Sequence[Fault]) -> dict[str, Any]:
    """One member in plain words: name, how it is carried, what it runs, whether it is switched on."""
    if fault := file.fault_of(name, faults):
        return {"name": name, "how": "faulty", "runs": fault, "enabled": False, "description": ""}
    member = file.as_ours(name)
    how, runs = _carried(member)
    return {
        "name": name,
        "how": how,
        "runs": runs,
        "enabled": member.get("enabled", True) is not False,
        "description": str(member.get("description", "")),
    }


def _carried(member: dict[str, Any]) -> tuple[str, str]:
    for kind in ("stdio", "process", "docker", "swarm"):
        block = cast("dict[str, Any]", member[kind]) if isinstance(member.get(kind), dict) else None
        if block is None:
            continue
        if "image" in block:
            return kind, str(block["image"])
        words: list[Any] = [block.get("command", block.get("container", "")), *(block.get("args") or [])]
        how = "bridge" if "bridge" in member else "hosted" if kind == "stdio" else kind
        return how, " ".join(str(word) for word in words)
    return "external", str(member.get("url", ""))


def _state(one: dict[str, Any], status: dict[str, Any] | None) -> str:
    """How a member of the file is: as the watchdog says, else as the file does."""
    if one["how"] == "faulty":
        return "-"
    if not one["enabled"]:
        return "switched off"
    if status is None:
        return "-"
    member = one_of(status["members"], "name", one["name"])
    if member is None:
        return "not loaded"
    return f"{member['phase']}, {member['verdict']}" if member["phase"] == "running" else str(member["phase"])
