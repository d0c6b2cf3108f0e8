"""Servers of the catalogue that are installed here are started and probed, canary included, as `add` would do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.cli.edit.catalog import from_catalog
from mcpwatch.cli.edit.definition import as_member
from mcpwatch.cli.edit.trial import try_member
from mcpwatch.config.catalog import catalog
from tests.parts import program, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def tried(name: str, binary: Path, **answers: str) -> tuple[str, ...]:
    """The tools of an entry, its launcher and package replaced by the program that is here already."""
    entry = catalog()[name]
    member = as_member(from_catalog(name, answers, read_write=False if entry.writes == "choice" else None))
    skipped = 1 if entry.runtime == "uvx" else 2
    member["stdio"] |= {"command": str(binary), "args": member["stdio"].get("args", [])[skipped:]}
    return try_member(name, member, Path.cwd(), (), {}, 90.0).tools


def test_servers_from_pypi_answer_their_canaries(tmp_path: Path) -> None:
    assert "get_current_time" in tried("time", server("mcp-server-time"))
    assert tried("fetch", server("mcp-server-fetch")) == ("fetch",)


@pytest.mark.needs("npm")
def test_servers_from_npm_answer_their_canaries(tmp_path: Path) -> None:
    binaries = program("npm").parent
    assert "echo" in tried("everything", binaries / "mcp-server-everything")
    tools = tried("filesystem", binaries / "mcp-server-filesystem", directory=str(tmp_path))
    assert "read_text_file" in tools
    assert "write_file" not in tools, "read only, as chosen"
