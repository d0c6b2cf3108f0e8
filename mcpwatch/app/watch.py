"""Waiting for a file to change: the one door to watchfiles."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

POLL = 2000
"""Milliseconds between two looks where the kernel tells of no changes."""
STEP = 1000
"""Milliseconds after which watchfiles' thread wakes to see whether something was told: every wake costs."""

_log = logging.getLogger("mcpwatch.watch")


async def watch_file(file: Path, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` once per burst of changes of `file`, or of what it links to, for ever.

    Where no file can be watched any more (inotify's limits, a file system without it) the directory is looked at every two seconds.
    """
    from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]

    path = file.absolute()  # noqa: ASYNC240 - once, at the start
    wanted = {str(path), str(path.resolve())}
    look = partial(awatch, path.parent, recursive=False, step=STEP, debounce=2000, rust_timeout=60_000, yield_on_timeout=False)
    for watched in (look, partial(look, force_polling=True, poll_delay_ms=POLL)):
        try:
            async for changes in watched():
                if any(str(Path(name)) in wanted for _, name in changes) and path.exists():
                    await changed()
        except OSError as error:
            if watched is not look:
                raise
            _log.warning(
                "%s cannot be watched (no inotify watch is left: %s); it is looked at every 2 s", path, type(error).__name__
            )
