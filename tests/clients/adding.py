"""A writer in a process of its own: adds entries to a file, one write each. Run by the race tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mcpwatch.clients.backups import Backups
from mcpwatch.clients.catalog import made
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.reconcile import EVERYTHING, reconcile
from mcpwatch.clients.route import ClientRoute
from mcpwatch.clients.sync import Job, sync
from mcpwatch.model.time import WallTime


def job(path: Path, name: str, *, kind: str = "claude-code") -> Job:
    """Put one route called `name` into `path`."""
    client = made({"kind": kind, "path": str(path)})
    wanted = client.adapter.wanted(client.spec, (ClientRoute(name, f"http://h:9090/{name}/sse"),), ())
    lock = client.adapter.places["user"].lock
    syntax = client.adapter.syntax
    return Job(
        kind, path, lambda text: reconcile(syntax, text, wanted, Ledger(), keep=EVERYTHING), Ledger(), lock, at=WallTime(1e9)
    )


def main() -> None:
    """argv: JSON of {path, backups, names}."""
    asked = json.loads(sys.argv[1])
    for name in asked["names"]:
        sync(job(Path(asked["path"]), name), Backups(Path(asked["backups"])))


if __name__ == "__main__":
    main()
