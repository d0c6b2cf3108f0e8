"""The configuration reference and the JSON Schema, from the models and the kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mcpwatch.app.kinds import all_kinds
from mcpwatch.config.schema import schema
from mcpwatch.registry import Kind, Kinds
from mcpwatch.units import spell_seconds, spell_size

Schema = dict[str, Any]
PAGE = "docs/reference/configuration.md"
SCHEMA = "docs/reference/mcpwatch.schema.json"

_HEAD = """\
# Configuration reference

<!-- Made by `make docs` from mcpwatch/config/models.py and the specs of every kind. Do not edit. -->

One YAML file describes the whole fleet. `mcpwatch config validate` finds every fault of it at once, with file, line and path;
`mcpwatch config show` prints it with every default filled in and every secret masked; `mcpwatch config schema` prints the
[JSON Schema](mcpwatch.schema.json) by which editors complete it:

    # yaml-language-server: $schema=./mcpwatch.schema.json

**Also accepted, unchanged:** a TBXark `config.json` (`mcpProxy` + `mcpServers`), a bare `mcp-servers.json` (`mcpServers`) and a
sparfenyuk named-server file. Their servers are served by the embedded gateway under the same names. `mcpwatch init --from FILE`
turns one into a commented file of this format.

**Variables.** `${VAR}` is replaced in every value by the environment, or by a file named in `env_file` (the environment wins);
`${VAR:-default}` has a default; `$$` is a dollar sign. A variable that is not set is a fault. In a TBXark file `$VAR` counts too.

**Secrets.** Where a key `NAME` holds a secret, `NAME_file` names a file that holds it (`token_file`, `tokens_file`: one a line).
Secret values never appear in logs, errors, `show`, argv or state files.

**Durations** are `30s`, `1m30s`, `250ms`, `2h` or a number of seconds; **sizes** are `256m`, `1g` or a number of bytes.
Relative paths start at the directory of the file. Keys that begin with `x-` at the top are yours, for YAML anchors.
"""


def pages() -> Mapping[str, str]:
    """Both files, by path from the root of the repository."""
    kinds = all_kinds()
    found = schema(kinds)
    return {PAGE: page(kinds, found), SCHEMA: json.dumps(found, indent=2, ensure_ascii=False) + "\n"}


def page(kinds: Kinds, found: Schema) -> str:
    """The reference page."""
    defs = cast("dict[str, Schema]", found["$defs"])
    written = _Page(defs)
    lines = [_HEAD, "## The file", "", *written.table(found)]
    lines += ["", "## `members.<name>`", "", _summary(defs["Member"]), "", *written.table(defs["Member"])]
    lines += ["", "## `proxy`", "", _summary(defs["Proxy"]), "", *_kinds(kinds.proxies), "", *written.table(defs["Proxy"])]
    lines += ["", "## `checks`", "", _summary(defs["Check"]), "", *_kinds(kinds.checks), "", *written.table(defs["Check"])]
    lines += ["", "## Runtimes", "", *_kinds(kinds.runtimes)]
    for name in written.rest({"Member", "Proxy", "Check"}):
        lines += ["", f"## {name}", "", _summary(defs[name]), "", *written.table(defs[name])]
    return "\n".join(lines).rstrip("\n") + "\n"


def _kinds(kinds: tuple[Kind[Any], ...]) -> list[str]:
    return [f"- `{kind.name}` — {kind.summary or (kind.spec.__doc__ or '').splitlines()[0]}" for kind in kinds]


def _summary(definition: Schema) -> str:
    return " ".join(str(definition.get("description", "")).split())


class _Page:
    """Writes tables and remembers which definitions they link to."""

    def __init__(self, defs: dict[str, Schema]) -> None:
        self.defs = defs
        self.linked: dict[str, None] = {}

    def rest(self, done: set[str]) -> Iterator[str]:
        """The definitions linked to and not yet written; writing one may link to more."""
        seen = set(done)
        while names := [name for name in self.linked if name not in seen]:
            seen.add(names[0])
            yield names[0]

    def table(self, definition: Schema) -> list[str]:
        """One row a key."""
        properties = cast("dict[str, Schema]", definition.get("properties", {}))
        required = set(definition.get("required", []))
        if not properties:
            return ["It has no keys of its own."]
        rows = [self.row(name, value, name in required) for name, value in properties.items() if not _twin(name, properties)]
        return ["| key | value | default | meaning |", "|---|---|---|---|", *rows]

    def row(self, name: str, value: Schema, required: bool) -> str:
        default = "**required**" if required else self.default(value)
        words = " ".join(str(value.get("description", "")).split()).replace("|", "\\|")
        return f"| `{name}` | {self.kind(value)} | {default} | {words} |"

    def default(self, value: Schema) -> str:
        found = value.get("default")
        if found is None or found in ([], {}, "") or isinstance(found, dict):
            return ""
        if self.kind(value) in {"size", "duration"} and isinstance(found, (int, float)):
            shown = spell_size(int(found)) if self.kind(value) == "size" else spell_seconds(float(found))
            return f"`{shown}`"
        return f"`{json.dumps(found, ensure_ascii=False)}`" if not isinstance(found, str) else f"`{found}`"

    def kind(self, value: Schema) -> str:
        """The type in a few words, with links to definitions."""
        if "$ref" in value:
            name = str(value["$ref"]).rpartition("/")[2]
            self.linked.setdefault(name)
            shown = {"Member": "members.<name>", "Proxy": "proxy", "Check": "checks"}.get(name, name)
            return f"[{shown}](#{_anchor(shown)})"
        if "examples" in value:
            return (
                "size"
                if "256m" in value["examples"]
                else "duration"
                if "30s" in value["examples"]
                else f"e.g. `{value['examples'][0]}`"
            )
        if "enum" in value:
            return ", ".join(f"`{item}`" for item in value["enum"])
        if "const" in value:
            return f"`{json.dumps(value['const'])}`"
        if "anyOf" in value:
            parts = dict.fromkeys(self.kind(item) for item in value["anyOf"] if item.get("type") != "null")
            return " or ".join(parts)
        if value.get("format") == "password":
            return "secret"
        word = value.get("type")
        if word == "array":
            return f"list of {self.kind(value.get('items', {}))}"
        if word == "object":
            inner = value.get("additionalProperties")
            return f"names → {self.kind(cast('Schema', inner))}" if isinstance(inner, dict) and inner else "mapping"
        words = {"string": "text", "integer": "number", "number": "number", "boolean": "true, false"}
        listed = cast("list[str]", word) if isinstance(word, list) else [str(word)]
        return " or ".join(dict.fromkeys(words.get(item, "any value") for item in listed))


def _twin(name: str, properties: Mapping[str, Schema]) -> bool:
    """Whether it is the `NAME_file` of a secret `NAME`: told once, at the top."""
    stem = name.removesuffix("_file")
    return (
        stem != name and stem in properties and str(properties[name].get("description", "")).startswith("Path of a file that holds")
    )


def _anchor(title: str) -> str:
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")
