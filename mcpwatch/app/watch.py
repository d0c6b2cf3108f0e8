"""Waiting for a file to change: told by the kernel, and looked at where it tells of nothing (ADR 0141)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from mcpwatch.runtimes.kernel import IN_CLOSE_WRITE, IN_CREATE, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_TO, inotify_open, inotify_watch

POLL = 2.0
"""Seconds between two looks where the kernel tells of no changes."""
SETTLE = 1.0
"""Seconds from the first sign of a change to the look at the file: a burst is one change, and a busy directory wakes nobody
more often."""

SECRETS, RARELY = 3.0, 30.0
"""Seconds between two looks at files that hold secrets, and where there is none."""

LINKS = 40
"""Links that the kernel follows on one way."""
_SIGNS = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVE_SELF
_log = logging.getLogger("mcpwatch.watch")

Mark = tuple[int, int, int]
"""What tells a file from what it was."""


async def watch_secrets(files: Callable[[], Iterable[str]], changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` when one of the files that hold secrets is another than it was, for ever. One that is away is waited for."""
    known, pause = _seen(files()), SECRETS
    while True:
        await asyncio.sleep(pause)
        now = _seen(files())
        pause = SECRETS if now else RARELY
        other = any(name in known and known[name] != mark for name, mark in now.items())
        known |= now
        if other:
            await changed()


def _seen(files: Iterable[str]) -> dict[str, Mark]:
    """What tells each file that is there from what it was."""
    found: dict[str, Mark] = {}
    for name in files:
        try:
            told = os.stat(name)  # noqa: PTH116 - as cheap as it gets
        except OSError:
            continue
        found[name] = told.st_ino, told.st_mtime_ns, told.st_size
    return found


async def watch_file(file: Path, changed: Callable[[], Awaitable[None]], *, settle: float = SETTLE, poll: float = POLL) -> None:
    """Call `changed` once per burst of changes of `file`, or of what it links to, for ever. One that is away is waited for.

    `settle` and `poll` in seconds. Where no file can be watched (inotify's limits, a system without it, a directory that is
    away) it is looked at every `poll` seconds.
    """
    path, told = file.absolute(), False  # noqa: ASYNC240 - once, at the start
    known = mark_of(path)
    while True:
        signs = _signs(path)
        try:
            now = mark_of(path)  # from here on a change is told
            if now is not None and now != known:
                known = now
                await changed()
            elif signs is not None:
                await _readable(signs)
                await asyncio.sleep(settle)
            else:
                if not told and path.parent.is_dir():
                    told = True
                    _log.warning("%s cannot be watched (no inotify watch is left, or no inotify); it is looked at every 2 s", path)
                await asyncio.sleep(poll)
        finally:
            if signs is not None:
                os.close(signs)


def mark_of(path: Path) -> Mark | None:
    """The file, or what it links to, as it is now; `None` while it is away."""
    return _seen([str(path)]).get(str(path))


def _signs(path: Path) -> int | None:
    """An inotify descriptor that tells of changes of a file: of itself, in its directory, where a link leads, and of each link.

    `None` where not all of that can be told.
    """
    signs = inotify_open()
    if signs is None:
        return None
    real = Path(os.path.realpath(path))  # a link that leads to itself is no error here
    inotify_watch(signs, real, _SIGNS | IN_MODIFY)  # while it stays open too, and where it is mounted without its directory
    if all(inotify_watch(signs, place, _SIGNS) is not None for place in {path.parent, real.parent, *_crossings(path)}):
        return signs
    os.close(signs)
    return None


def _crossings(path: Path) -> set[Path]:
    """The directories of all links that are followed on the way to a file: there each may be led elsewhere."""
    found: set[Path] = set()
    with contextlib.suppress(OSError):  # one of them is gone by now, or is not shown to us
        for _ in range(LINKS):
            link = next((one for one in (*reversed(path.parents), path) if one.is_symlink()), None)
            if link is None:
                break
            found.add(link.parent)
            path = link.parent / link.readlink() / path.relative_to(link)
    return found


async def _readable(descriptor: int) -> None:
    """Return when there is something to read."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, lambda: there.done() or there.set_result(None))
    try:
        await there
    finally:
        loop.remove_reader(descriptor)
