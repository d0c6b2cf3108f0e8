"""Hosted servers that an operator stopped, as empty files beside the gateway's admin socket: no gateway starts those by itself.

The watchdog writes them, a gateway reads them at its start and at each reload. A file per server is written and removed whole.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

DIRECTORY = "held"


def held(admin: Path) -> frozenset[str]:
    """Names of the servers that stay down, for the gateway with this admin socket."""
    try:
        return frozenset(one.name for one in (admin.parent / DIRECTORY).iterdir())
    except OSError:
        return frozenset()


def mark(admin: Path, name: str, *, down: bool) -> None:
    """Keep a server down, or not any more. What cannot be written is left: such a server is started and stopped again."""
    place = admin.parent / DIRECTORY
    with contextlib.suppress(OSError):
        if down:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            (place / name).touch(mode=0o600)
        else:
            (place / name).unlink(missing_ok=True)
