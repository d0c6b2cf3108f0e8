"""Where a client's file is on this machine: the first candidate that exists, else the last. Shell, reads only."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcpwatch.clients.adapter import Client
from mcpwatch.clients.adapters.open_webui import OpenWebUISpec


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of this machine that decide where files are. `base` is where relative paths start, unless told otherwise."""

    home: Path = field(default_factory=Path.home)
    platform: str = sys.platform
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    base: Path = field(default_factory=Path.cwd)

    def candidates(self, client: Client, base: Path | None = None) -> tuple[Path, ...]:
        """Every file that may be this client's; for a client without a file, its address alone."""
        if isinstance(client.spec, OpenWebUISpec):
            return (Path(client.spec.url),)
        found = client.adapter.locate(client.spec, self.home, self.platform, self.env)
        return tuple((base or self.base) / path for path in found)

    def locate(self, client: Client, base: Path | None = None) -> Path:
        """The file of `client`."""
        candidates = self.candidates(client, base)
        return next((path for path in candidates if _there(path)), candidates[-1])


def name(client: Client, path: Path) -> str:
    """The name of one client's file in the store and on the command line: `claude-code:/home/me/.claude.json`."""
    where = client.spec.url if isinstance(client.spec, OpenWebUISpec) else str(path)
    return f"{client.spec.kind}:{where}"


def _there(path: Path) -> bool:
    try:
        return path.is_symlink() or path.stat().st_size > 0
    except OSError:
        return False
