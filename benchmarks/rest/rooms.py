"""What each room weighs: `python -m benchmarks.rest.rooms`. Imports one after the other in a fresh process, as a daemon would.

Prints RSS and PSS after each. The last four are no part of a daemon at rest: three read arguments and configurations,
in a process that ends, and httpx speaks to receivers.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from mcpwatch.left_out import leave_out

ROOMS = (
    "asyncio", "pydantic", "mcpwatch.registry", "mcpwatch.watchdog.fleet", "mcpwatch.runtimes", "mcpwatch.proxies",
    "mcpwatch.checks", "mcpwatch.store.sqlite", "mcpwatch.alerts.service", "mcpwatch.clients.service", "mcpwatch.telemetry.service",
    "mcpwatch.web.serve", "mcpwatch.web.site", "mcpwatch.app.daemon", "mcpwatch.cli.begin", "mcpwatch.cli.main",
    "mcpwatch.app.kinds", "mcpwatch.config.load", "httpx",
)  # fmt: skip


def main() -> None:
    """Print a row for each room."""
    leave_out()  # as the program does
    print("| after importing | RSS MiB | PSS MiB | modules |\n|---|---|---|---|")
    for name in ROOMS:
        importlib.import_module(name)
        rows = (line.split() for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines())
        found = {words[0]: int(words[1]) / 1024 for words in rows if words[0] in {"Rss:", "Pss:"}}
        print(f"| {name} | {found['Rss:']:.1f} | {found['Pss:']:.1f} | {len(sys.modules)} |")


if __name__ == "__main__":
    main()
