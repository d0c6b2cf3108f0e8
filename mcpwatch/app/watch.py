"""Waiting for a file to change: the one door to watchfiles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path


async def watch_file(file: Path, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` once per burst of changes of `file`, or of what it links to, for ever."""
    from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]

    path = file.absolute()  # noqa: ASYNC240 - once, at the start
    wanted = {str(path), str(path.resolve())}
    async for changes in awatch(path.parent, recursive=False, step=500, debounce=1000, rust_timeout=60_000, yield_on_timeout=False):
        if any(str(Path(name)) in wanted for _, name in changes) and path.exists():
            await changed()
