"""The real servers that the gateway is compared with, and a place for them to look at."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.parts import PARTS, server

NPM = PARTS / "npm" / "node_modules"
NAMES = [
    "time",
    "git",
    pytest.param("filesystem", marks=pytest.mark.needs("npm")),
    pytest.param("everything", marks=pytest.mark.needs("npm")),
]
"""What a test is parametrized with."""


def spec(name: str, where: Path) -> dict[str, Any]:
    """How a gateway runs one of them; `where` is the place that it may look at."""
    match name:
        case "time" | "git":
            return {"command": str(server(f"mcp-server-{name}"))}
        case "filesystem":
            return {"command": str(NPM / ".bin" / "mcp-server-filesystem"), "args": [str(where)]}
        case _:
            return {"command": str(NPM / ".bin" / f"mcp-server-{name}")}


def furnish(where: Path) -> None:
    """Make it a repository with one commit of one file."""
    (where / "file.txt").write_text("zwölf Boxkämpfer\n")
    git = ["git", "-C", str(where), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
