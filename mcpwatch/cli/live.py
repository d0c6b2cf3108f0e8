"""The live table of `up`: the fleet as `status` shows it, with the latest facts under it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import time

from mcpwatch.app.daemon import Daemon
from mcpwatch.bus import Subscription
from mcpwatch.cli.status import event_line, render
from mcpwatch.cli.table import coloured, fit, terminal_width
from mcpwatch.model.json import fact_json, status_json

REFRESH = 1.0
RECENT = 8

_log = logging.getLogger("mcpwatch.table")


async def show(daemon: Daemon) -> None:
    """Redraw the table every second and after each change, with the latest facts under it."""
    facts = daemon.bus.subscribe(size=256)
    recent: list[str] = []
    reader = asyncio.get_running_loop().create_task(_collect(facts, recent))
    try:
        sys.stdout.write("\x1b[2J\x1b[?25l")
        while True:
            _draw(daemon, recent)
            await asyncio.sleep(REFRESH)
    except (OSError, ValueError) as error:  # the terminal went away, and nothing is wrong with the fleet
        _log.info("the table is not shown any more, its terminal is gone (%s); the watchdog goes on", error)
    finally:
        reader.cancel()
        facts.close()
        with contextlib.suppress(OSError, ValueError):
            _draw(daemon, recent)


async def _collect(facts: Subscription, recent: list[str]) -> None:
    async for fact in facts:
        if fact.level != "debug":
            recent.append(event_line(fact_json(fact), colour=True))
            del recent[:-RECENT]


def _draw(daemon: Daemon, recent: list[str]) -> None:
    width, height = shutil.get_terminal_size()
    body = render(status_json(daemon.fleet.view()), colour=coloured(), now=time.time(), width=terminal_width())
    lines = [
        *body,
        "",
        *recent,
        "",
        "Ctrl-C stops the fleet; in another terminal: mcpwatch status, mcpwatch events -f, mcpwatch check",
    ]
    shown = [fit(line, width) for line in lines[: max(1, height - 1)]]
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    sys.stdout.flush()
