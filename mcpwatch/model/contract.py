"""The contract of a server: what it lists, fingerprinted per item, and what a change of it means. Pure, without policy.

A contract is kept as canonical JSON text (`ProbeResult.contract`), so that it can be stored, compared and shown anywhere:
`{"prompts": […], "resources": […], "templates": […], "tools": […]}`, each list sorted by name, absent where the server has none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from mcpwatch.model.shape import Direction, compare

Definition = dict[str, Any]
ItemKind = Literal["tool", "prompt", "resource", "template"]
Turn = Literal["added", "removed", "tightened", "loosened", "description", "annotations"]
Severity = Literal["breaking", "compatible", "description"]

ITEM_KEYS = (
    "name",
    "uri",
    "uriTemplate",
    "title",
    "description",
    "mimeType",
    "inputSchema",
    "outputSchema",
    "arguments",
    "annotations",
)
"""What belongs to a contract. `_meta` and icons do not: gateways add their own."""
SECTIONS: tuple[tuple[ItemKind, str, str], ...] = (
    ("tool", "tools", "name"),
    ("prompt", "prompts", "name"),
    ("resource", "resources", "uri"),
    ("template", "templates", "uriTemplate"),
)
"""Kind, key in the contract, and the key that identifies an item."""
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
"""Names that real clients take."""
CHARACTERS_PER_TOKEN = 4.0
"""What one token of a language model holds of JSON, about; good to a fifth, and the same for every server."""
DETAIL_LIMIT = 160


@dataclass(frozen=True, slots=True)
class ContractChange:
    """One difference between two contracts. `detail` says where, e.g. `argument 'path' is now required`."""

    kind: ItemKind
    name: str
    turn: Turn
    severity: Severity
    detail: str = ""

    def __str__(self) -> str:
        tail = f": {self.detail}" if self.detail else ""
        return f"{self.turn} {self.kind} '{self.name}'{tail}"


def canonical(value: object) -> str:
    """JSON text that is equal exactly when the values are: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """The first 16 hex digits of SHA-256: what a fingerprint is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def item(definition: Definition) -> Definition:
    """The part of a listed item that is its contract."""
    return {key: definition[key] for key in ITEM_KEYS if definition.get(key) is not None}


def snapshot(**lists: Iterable[Definition] | None) -> str:
    """The contract text of `tools=`, `prompts=`, `resources=`, `templates=` as listed; `None` where a list is not offered."""
    body: dict[str, list[Definition]] = {}
    for _, section, key in SECTIONS:
        listed = lists.get(section)
        if listed is not None:
            body[section] = sorted((item(entry) for entry in listed), key=lambda entry, key=key: str(entry.get(key, "")))
    return canonical(body)


def changes(old: str, new: str) -> tuple[ContractChange, ...]:
    """What differs between two contracts, worst first. Raises `ValueError` when a text is no contract.

    A list that one of the two does not hold at all (not asked for, or not offered) is not compared, except for tools.
    """
    before, after = _items(old), _items(new)
    silent = _silent(old) | _silent(new)
    found: list[ContractChange] = []
    for place in before.keys() | after.keys():
        kind, name = place
        if kind in silent:
            continue
        if place not in after:
            found.append(ContractChange(kind, name, "removed", "breaking"))
        elif place not in before:
            found.append(ContractChange(kind, name, "added", "compatible"))
        elif before[place] != after[place]:
            found += _item_changes(kind, name, before[place], after[place])
    rank = {"breaking": 0, "description": 1, "compatible": 2}
    return tuple(sorted(found, key=lambda change: (rank[change.severity], change.kind, change.name, change.turn)))


def severity(found: Iterable[ContractChange]) -> Severity:
    """The worst severity among changes: breaking, then description (what a model reads changed), then compatible."""
    present = {change.severity for change in found}
    return "breaking" if "breaking" in present else "description" if "description" in present else "compatible"


def tokens(contract: str) -> int:
    """About how many tokens the tools of a contract weigh in a model's context (characters / 4)."""
    tools = json.loads(contract).get("tools", [])
    return weight(tools)


def weight(tools: list[Definition]) -> int:
    """About how many tokens a list of tools weighs: what a client shows to a model of it, by characters."""
    shown = ("name", "description", "inputSchema")
    size = sum(len(canonical({key: tool[key] for key in shown if key in tool})) for tool in tools)
    return round(size / CHARACTERS_PER_TOKEN)


def lint(tools: Iterable[Definition]) -> tuple[str, ...]:
    """What makes real clients refuse a tool, or every tool of the server, a line each; not whether a schema is valid in depth."""
    lines: list[str] = []
    seen: set[str] = set()
    for tool in tools:
        name = str(tool.get("name", ""))
        if not NAME.fullmatch(name):
            lines.append(f"tool {name[:60]!r}: its name must be 1 to 128 of A-Z a-z 0-9 _ . -")
        if name in seen:
            lines.append(f"tool {name!r}: listed twice")
        seen.add(name)
        schema = tool.get("inputSchema")
        if not isinstance(schema, dict):
            lines.append(f"tool {name!r}: it has no inputSchema")
        elif cast("Definition", schema).get("type") != "object":
            lines.append(f'tool {name!r}: the type of its inputSchema must be "object"')
    return tuple(lines)


def collisions(names: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Tool names that more than one route lists, with those routes: clients that merge servers show only one of them."""
    owners: dict[str, list[str]] = {}
    for route, listed in names.items():
        for name in dict.fromkeys(listed):
            owners.setdefault(name, []).append(route)
    return {name: tuple(sorted(routes)) for name, routes in sorted(owners.items()) if len(routes) > 1}


def _items(contract: str) -> dict[tuple[ItemKind, str], Definition]:
    body: object = json.loads(contract)
    if not isinstance(body, dict):
        raise ValueError("a contract is a JSON object")
    found: dict[tuple[ItemKind, str], Definition] = {}
    for kind, section, key in SECTIONS:
        for entry in cast("list[Definition]", cast("Definition", body).get(section) or []):
            found[kind, str(entry.get(key, ""))] = entry
    return found


def _silent(contract: str) -> set[ItemKind]:
    body = cast("Definition", json.loads(contract))
    return {kind for kind, section, _ in SECTIONS if section not in body and kind != "tool"}


def _item_changes(kind: ItemKind, name: str, old: Definition, new: Definition) -> list[ContractChange]:
    found: list[ContractChange] = []
    sides: tuple[tuple[str, Direction], ...] = (("inputSchema", "input"), ("outputSchema", "output"))
    for key, direction in sides:
        found += [
            ContractChange(kind, name, turn, level, detail[:DETAIL_LIMIT])
            for turn, level, detail in compare(old.get(key), new.get(key), direction)
        ]
    if old.get("arguments") != new.get("arguments"):
        found += _argument_changes(kind, name, old.get("arguments"), new.get("arguments"))
    found += [
        ContractChange(kind, name, "description", "description", f"its {key} changed")
        for key in ("title", "description")
        if old.get(key) != new.get(key)
    ]
    if old.get("mimeType") != new.get("mimeType"):
        found.append(ContractChange(kind, name, "tightened", "breaking", "its mimeType changed"))
    if old.get("annotations") != new.get("annotations"):
        found.append(_annotation_change(kind, name, old.get("annotations"), new.get("annotations")))
    return found


def _argument_changes(kind: ItemKind, name: str, old: object, new: object) -> list[ContractChange]:
    before, after = _arguments(old), _arguments(new)
    found = [
        ContractChange(kind, name, "tightened", "breaking", f"argument '{gone}' is gone") for gone in before.keys() - after.keys()
    ]
    for argument, required in after.items():
        if argument not in before:
            turn, level = ("tightened", "breaking") if required else ("loosened", "compatible")
            found.append(ContractChange(kind, name, cast("Turn", turn), cast("Severity", level), f"new argument '{argument}'"))
        elif required and not before[argument]:
            found.append(ContractChange(kind, name, "tightened", "breaking", f"argument '{argument}' is now required"))
        elif before[argument] and not required:
            found.append(ContractChange(kind, name, "loosened", "compatible", f"argument '{argument}' is no longer required"))
    return found or [ContractChange(kind, name, "description", "description", "the description of its arguments changed")]


def _arguments(value: object) -> dict[str, bool]:
    entries = cast("list[Definition]", value) if isinstance(value, list) else []
    return {str(entry.get("name")): bool(entry.get("required")) for entry in entries}


def _annotation_change(kind: ItemKind, name: str, old: object, new: object) -> ContractChange:
    before = cast("Definition", old) if isinstance(old, dict) else {}
    after = cast("Definition", new) if isinstance(new, dict) else {}
    worse = (before.get("readOnlyHint") is True and after.get("readOnlyHint") is not True) or (
        before.get("destructiveHint") is False and after.get("destructiveHint") is not False
    )
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return ContractChange(kind, name, "annotations", "breaking" if worse else "compatible", f"changed: {', '.join(keys)}")
