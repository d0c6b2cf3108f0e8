"""Where the real parts are: programs that tests run against, and why one is absent. `.ci/parts` installs them all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(os.environ.get("MCPWATCH_PARTS", ROOT / ".parts"))
SERVERS = ROOT / ".servers" / "bin"

PROGRAMS: dict[str, Path | str] = {
    "tbxark": PARTS / "tbxark-a" / "mcp-proxy",
    "tbxark-new": PARTS / "tbxark-new" / "mcp-proxy",
    "sparfenyuk": PARTS / "sparfenyuk" / "bin" / "mcp-proxy",
    "npm": PARTS / "npm" / "node_modules" / ".bin" / "mcp-server-everything",
    "fastmcp": PARTS / "fastmcp" / "bin" / "python",
    "conformance-next": PARTS / "npm" / "node_modules" / "conformance-next" / "dist" / "index.js",
    "node22": PARTS / "npm" / "node_modules" / ".bin" / "node",
    "claude": PARTS / "clients" / "node_modules" / ".bin" / "claude",
    "codex": PARTS / "clients" / "node_modules" / ".bin" / "codex",
    "gemini": PARTS / "clients" / "node_modules" / ".bin" / "gemini",
    "opencode": PARTS / "clients" / "node_modules" / "opencode-linux-x64" / "bin" / "opencode",
    "inspector": PARTS / "npm" / "node_modules" / ".bin" / "mcp-inspector",
    "mcpo": PARTS / "mcpo" / "bin" / "mcpo",
    "prometheus": "prometheus",
    "promtool": "promtool",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "amtool",
    "chromium": "chromium",
}
"""Part name to its program: a path, or a name looked up on PATH."""


def program(part: str) -> Path:
    """The program of a part. Raises `LookupError` when it is absent."""
    where = PROGRAMS[part]
    found = shutil.which(str(where))
    if not found:
        raise LookupError(f"{part}: {where} is not installed; run .ci/parts")
    return Path(found)


def server(name: str) -> Path:
    """A real MCP server from PyPI, e.g. `mcp-server-time`, as `make dev` installs it."""
    return SERVERS / name


def missing(part: str) -> str:
    """Why a part cannot be used here, or the empty string."""
    if part == "docker":
        return "" if Path("/var/run/docker.sock").exists() else "no Docker engine on /var/run/docker.sock; run .ci/parts"
    if part == "root":
        return "" if os.geteuid() == 0 else "needs root"
    try:
        program(part)
    except LookupError as error:
        return str(error)
    return ""
