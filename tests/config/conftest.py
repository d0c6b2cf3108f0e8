"""A small machine for config's tests: a PATH with exactly the commands that the fixtures name."""

from __future__ import annotations

from pathlib import Path

import pytest

COMMANDS = ("mcp-server-time", "mcp-server-fetch", "mcp-server-git", "uvx", "git")


@pytest.fixture
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH holds `COMMANDS` and nothing else."""
    directory: Path = tmp_path_factory.mktemp("bin")
    for name in COMMANDS:
        program = directory / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return {"PATH": str(directory), "MCP_PROXY_TOKEN": "s3cret-proxy-token"}
