"""The files of three AI clients beside a fleet: what a user has in them, what another program does to them, and what must be so.

Owns the words of a user in each syntax. A file is whole when it reads as its syntax, every line of the user is in it in its
order, and it names the routes that it should, and no more.
"""

from __future__ import annotations

import functools
import json
import random
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml

_JSON = '{\n  "theme": "dark",\n  "n": 1.50,\n  "mcpServers": {\n    "own": {"command": "run", "args": ["[{\\"y\\"}]"]}\n  }\n}\n'
_TOML = '# mine\nmodel = "m" # c\n\n[mcp_servers.own]\ncommand = "run"\n\n[projects."/a b"]\ntrust_level = "trusted"\n'
_YAML = "# mine\nname: x\nversion: 0.0.1\nmcpServers:\n  - name: own\n    command: run  # c\nmodels:\n  - &a {name: m}\n  - *a\n"
_Table = dict[str, Any]


def _no_key_twice(pairs: list[tuple[str, Any]]) -> _Table:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is there twice: {[key for key, _ in pairs]}")
    return found


_READ: dict[str, tuple[str, Callable[[str], _Table]]] = {
    "client.json": (_JSON, functools.partial(json.loads, object_pairs_hook=_no_key_twice)),
    "client.toml": (_TOML, tomllib.loads),
    "client.yaml": (_YAML, yaml.safe_load),
}
KINDS = {"client.json": "claude-code", "client.toml": "codex-cli", "client.yaml": "continue"}

HOSTILE: dict[str, str | None] = {
    "comments": '{"mcpServers": {"a": {"url": "http://x"} ' + "/*c*/ " * 26 + "… }}",
    "deep": '{"deep": ' + "[" * 5000 + "]" * 5000 + "}",
    "bomb": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "odd keys": "2026-01-01: x\n1: y\n? [a, b]\n: z\nnull: n\nmcpServers: 5\n",
    "half": '{"mcpServers": {"own": {"comm',
    "not text": "\udcff\udcfe\x00",
    "directory": None,
}
"""What stands in a file for a while; `None` is a directory in its place."""


class ClientFiles:
    """The files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._said: dict[str, str] = {}
        for name, (text, _) in _READ.items():
            (directory / name).write_text(text, encoding="utf-8")
            self._said[name] = text

    def config(self) -> list[_Table]:
        """The `clients` of the configuration."""
        soon = {"hold_up": "100ms", "hold_down": "200ms"}
        return [{"kind": kind, "path": str(self.directory / name), **soon} for name, kind in KINDS.items()]

    def add(self, luck: random.Random) -> None:
        """Another program adds a line of the user's to one of them, at once and whole."""
        name = luck.choice(sorted(_READ))
        path, mark = self.directory / name, f"u{luck.randrange(10**6)}"
        text = path.read_text(encoding="utf-8")
        line = (
            f'  "{mark}": true,\n' if name == "client.json" else f"{mark} = true\n" if name == "client.toml" else f"{mark}: true\n"
        )
        before = "{\n" if name == "client.json" else "# mine\n"
        fresh = path.with_name("fresh")
        fresh.write_text(text.replace(before, before + line, 1), encoding="utf-8")
        fresh.replace(path)
        self._said[name] = self._said[name].replace(before, before + line, 1)

    def spoil(self, luck: random.Random) -> tuple[Path, Callable[[], str]]:
        """Put something hostile in place of one; what puts the user's text back, and says what was changed of the hostile one."""
        name, what = luck.choice(sorted(_READ)), luck.choice(sorted(HOSTILE))
        path, text = self.directory / name, HOSTILE[what]
        before = path.read_bytes()
        path.unlink()
        if text is None:
            path.mkdir()
        else:
            path.write_text(text, encoding="utf-8", errors="surrogateescape")

        def restore() -> str:
            there = None if path.is_dir() else path.read_text(encoding="utf-8", errors="surrogateescape")
            changed = (
                "" if there == text or (there and what == "bomb") else f"{path.name}: the {what} file was changed: {there!r:.300}"
            )
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            fresh = path.with_name("fresh")
            fresh.write_bytes(before)
            fresh.replace(path)
            return changed

        return path, restore

    def damaged(self) -> None:
        """Raises `AssertionError` for a file that does not read, or lost or got something that is not one of our entries."""
        for name, (_, read) in _READ.items():
            path = self.directory / name
            text = path.read_text(encoding="utf-8")
            try:
                document, mine = read(text), read(self._said[name])
            except Exception as error:
                raise AssertionError(f"{path} is damaged: {error}\n{text}") from error
            lines = iter(text.splitlines())
            lost = [line for line in self._said[name].splitlines() if not any(_like(line, other) for other in lines)]
            assert not lost, f"{path} lost {lost}:\n{text}"
            assert _foreign(document) == _foreign(mine), f"{path} is not what its user wrote:\n{text}"

    def misnamed(self, routes: set[str], urls: str) -> str:
        """Which file names other routes than it should, or nothing."""
        for name, (_, read) in _READ.items():
            document = read((self.directory / name).read_text(encoding="utf-8"))
            ours = {name for name, entry in _servers(document).items() if urls in str(entry)}
            if ours != routes:
                return f"{name} names {sorted(ours)} and should name {sorted(routes)}"
        return ""

    def leftovers(self) -> str:
        """What a writer left beside the files, or nothing."""
        left = [path.name for path in self.directory.iterdir() if "client." in path.name and path.name not in _READ]
        return f"left beside the files: {left}" if left else ""


def _like(line: str, other: str) -> bool:
    """The same line, but for a comma that a neighbour needs."""
    return re.sub(r",\s*$", "", line) == re.sub(r",\s*$", "", other)


def _foreign(document: _Table) -> _Table:
    """The document without the servers that lie on loopback, which only ours do."""
    mine = {name: entry for name, entry in _servers(document).items() if "127.0.0.1" not in str(entry)}
    return {key: mine if key in ("mcpServers", "mcp_servers") else value for key, value in document.items()}


def _servers(document: _Table) -> dict[str, Any]:
    found: Any = document.get("mcpServers") or document.get("mcp_servers") or {}
    if isinstance(found, list):
        return {str(item["name"]): item for item in cast("list[_Table]", found)}
    return cast("dict[str, Any]", found)
