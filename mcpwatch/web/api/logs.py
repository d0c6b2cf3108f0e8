"""A member's log line by line, as server-sent events that can be taken up again: each stamped line once, secrets masked.

An event's id is the stamp of the last line given out of each stream, so that any reader goes on where it stopped, also after a
restart of the watchdog. Reading is done in threads; what is read waits for the viewer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from mcpwatch import journal
from mcpwatch.model.time import iso

LINE_WIDTH = 4000
"""Characters of a log line."""
BEHIND = 1000
"""Lines of a stream that a reader who comes back is given at most; older ones are left out, and that is said."""
AT_ONCE = 200
"""Lines of a stream read at a time."""
PAUSE = 0.2
"""Seconds between two looks for one viewer, however much is written."""
KEEPALIVE = 15.0

Position = dict[str, float | None]
_ID = re.compile(r"(stdout|stderr)=(\d{1,12}(?:\.\d{1,9})?)")


class LogStreams:
    """Logs of the state directory `root`. `redact` takes the secrets out of a line. `wake` when members wrote."""

    def __init__(self, root: Path, redact: Callable[[str], str]) -> None:
        self._root = root
        self._redact = redact
        self._written = asyncio.Event()

    def wake(self) -> None:
        """Somebody wrote something: everybody looks."""
        self._written.set()
        self._written = asyncio.Event()

    def shown(self, line: journal.Line) -> dict[str, Any]:
        """A line as JSON."""
        return {"time": iso(line.at), "stream": line.stream, "text": self._redact(line.text)[:LINE_WIDTH]}

    def latest(self, member: str, streams: tuple[str, ...], n: int, since: float | None) -> tuple[list[dict[str, Any]], str]:
        """The latest lines, and the id after which a stream goes on: nothing is missed and nothing comes twice. Reads files.

        Lines that were not stamped yet are left to the stream; only a log that nobody stamps is read as it is.
        """
        here: Position = {stream: journal.newest(self._root, member, stream) for stream in streams}
        found = [line for line in journal.stamped(self._root, member, streams, n, since) if line.at <= (here[line.stream] or -1.0)]
        if not found:
            found = journal.read(self._root, member, streams, n, since)
        return [self.shown(line) for line in found], to_id(here)

    async def sse(self, member: str, after: str, streams: tuple[str, ...]) -> AsyncIterator[str]:
        """The lines after an id (from now on, without one), then every new one."""
        begin, behind = await asyncio.to_thread(self._begin, member, after, streams)
        follower = journal.Follower(self._root, member, begin)
        looking: asyncio.Task[list[journal.Line]] | None = None
        try:
            yield f"retry: 2000\nid: {to_id(begin)}\nevent: {'gap' if behind else 'hello'}\ndata: {json.dumps(member)}\n\n"
            while True:
                written = self._written
                looking = asyncio.get_running_loop().create_task(asyncio.to_thread(follower.poll, AT_ONCE), name=f"log of {member}")
                lines = await asyncio.shield(looking)
                if lines:
                    yield self._events(lines, begin)
                elif not await _set(written):
                    yield ": still here\n\n"
                if len(lines) < AT_ONCE:
                    await asyncio.sleep(PAUSE)
        finally:
            if looking is not None and not looking.done():
                looking.add_done_callback(lambda _: follower.close())
            else:
                follower.close()

    def _events(self, lines: list[journal.Line], at: Position) -> str:
        texts: list[str] = []
        for line in lines:
            at[line.stream] = line.at
            texts.append(f"id: {to_id(at)}\nevent: line\ndata: {json.dumps(self.shown(line))}\n\n")
        return "".join(texts)

    def _begin(self, member: str, after: str, streams: tuple[str, ...]) -> tuple[Position, bool]:
        """Where to go on, and whether that leaves something out."""
        known = dict(_ID.findall(after))
        begin, behind = Position(), False
        for stream in streams:
            if not after:
                begin[stream] = journal.newest(self._root, member, stream)
                continue
            given = float(known[stream]) if stream in known else None
            kept = journal.stamped(self._root, member, (stream,), BEHIND + 1, None)
            if len(kept) > BEHIND and (given is None or kept[0].at > given):
                begin[stream], behind = kept[0].at, True
            else:
                begin[stream] = given
        return begin, behind


def to_id(position: Position) -> str:
    """A position as an event's id; `-` where nothing was written yet."""
    return ",".join(f"{stream}={at:.6f}" for stream, at in position.items() if at is not None) or "-"


async def _set(event: asyncio.Event) -> bool:
    """Whether it was set within `KEEPALIVE`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KEEPALIVE):
            return await event.wait()
    return False
