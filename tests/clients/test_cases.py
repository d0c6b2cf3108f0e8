"""Files that once froze the daemon, ended all sync or were refused: each is edited, and removal restores it byte for byte."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from mcpwatch.clients.catalog import made
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.ledger import fingerprint
from mcpwatch.clients.route import ClientRoute

ROUTES = tuple(
    ClientRoute(name, f"http://h:9090/{name}/sse", f"http://h:9090/{name}/mcp", guarded=True) for name in ("time", "x-y")
)
EDITED: dict[str, tuple[str, str]] = {
    "comments on one line": ("cursor", '{"mcpServers": {"a": {"url": "http://x"} ' + "/*c*/ " * 26 + "}}"),
    "400 levels": ("cursor", '{"deep": ' + "[" * 400 + "]" * 400 + "}"),
    "a comment before the end of a line": ("vscode", '{"a": 1 /* see http://x */}'),
    "a comment in an empty object": ("vscode", '{"servers": { // none yet\n}}'),
    "an inline table": ("codex-cli", "mcp_servers = {}\n"),
    "an inline table with a blank": ("codex-cli", "mcp_servers = { }"),
    "an inline table with an entry": ("codex-cli", 'mcp_servers = { mine = { url = "}" } } # c\n'),
    "a dotted entry": ("codex-cli", 'mcp_servers.mine.url = "http://x"\n'),
    "an anchor": ("continue", "mcpServers: &box\n  - name: mine\n    url: http://127.0.0.1:1/sse\n"),
    "an anchor before a bracket": ("continue", "mcpServers: &box [{name: mine}]\n"),
    "a last line in a block scalar": ("goose", "extensions:\n  mine:\n    type: stdio\n    instructions: |\n      the last line"),
    "a block scalar alone": ("goose", "notes: >\n  the last line"),
    "dates and numbers as keys": ("goose", "extensions:\n  time:\n    type: sse\n  1: x\n  2026-01-01: y\n"),
    "a circular alias": ("goose", "a: &a\n  self: *a\nextensions: {}\n"),
    "aliases of aliases": (
        "goose",
        "a: &a [1]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in pairwise("abcdefgh")),
    ),
    "a tag of its own": ("continue", "secret: !vault abc\nmcpServers: []\n"),
    "a list as a key": ("goose", "? [a, b]\n: c\n"),
    "lone carriage returns": ("goose", "a: 1\rextensions:\r  mine: {}\rb: 2\r"),
    "lone carriage returns in JSON": ("vscode", '{\r  "servers": {}\r}\r'),
    "next-line characters": ("goose", "a: 1\x85b: 2\x85"),
    **{f"blank: {blank!r}": ("cursor", blank) for blank in ("", "\n", "  \r\n\n", "\t")},
    **{f"blank YAML: {blank!r}": ("goose", blank) for blank in ("", "\n", "  \n\n", "# c", "---\n")},
    **{f"blank TOML: {blank!r}": ("codex-cli", blank) for blank in ("", "\n", "  \n\n", "# c", "  ")},
}


@pytest.mark.parametrize("name", EDITED)
def test_entries_go_in_and_come_out_again(name: str) -> None:
    kind, text = EDITED[name]
    client = made({"kind": kind, "path": "x", "prefix": "own-"})
    entries = dict(client.adapter.wanted(client.spec, ROUTES, ()).entries)
    assert len(entries) >= 2
    filled = edit(client.adapter.syntax, text, entries)
    assert edit(client.adapter.syntax, filled.text, entries, filled.made).text == filled.text
    gone = edit(client.adapter.syntax, filled.text, dict.fromkeys(entries, DROP), filled.made)
    assert gone.text == text
    current = filled
    for path in entries:
        current = edit(client.adapter.syntax, current.text, {path: DROP}, current.made)
    assert current.text == text


@pytest.mark.parametrize("text", ["extensions: &e\n  a: {}\nother: *e\n", "extensions: &e\n  self: *e\n"])
def test_a_container_that_is_used_twice_is_refused_with_the_reason(text: str) -> None:
    client = made({"kind": "goose"})
    entries = dict(client.adapter.wanted(client.spec, ROUTES, ()).entries)
    with pytest.raises(EditRefused, match="something that is not ours would change"):
        edit(client.adapter.syntax, text, entries)


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def bomb() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize("value", [circle(), bomb(), {1: 2, "a": 3}, {"a": {1, 2}}], ids=["circle", "bomb", "keys", "a set"])
def test_what_no_entry_of_ours_can_be_has_no_fingerprint(value: Any) -> None:
    assert fingerprint(value) == ""
    assert fingerprint({"url": "http://x", "b": [1, None]}) == fingerprint({"b": [1, None], "url": "http://x"}) != ""
