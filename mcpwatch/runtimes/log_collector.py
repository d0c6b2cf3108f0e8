"""The log collector: turns what members append to raw files into the journal, each line stamped once, whoever dies in between.

Members write into files themselves, so nothing here is in their way: not its death, not its slowness, not a full disk. It must not
know what lines mean. One thread does all reading and writing, woken by inotify (or by a look twice a second).

Exactly once: lines are appended to the log, then the cursor is written in place. Killed in between, the next collector counts the
lines that the log has beyond the cursor's size and skips as many raw lines; cutting depends on nothing but the bytes, so they are
the same ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcpwatch import journal
from mcpwatch.clock import Clock, SystemClock
from mcpwatch.ports import Publish
from mcpwatch.runtimes.kernel import (
    IN_CREATE,
    IN_IGNORED,
    IN_MODIFY,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    Features,
    detect,
    inotify_open,
    inotify_watch,
)
from mcpwatch.runtimes.log_stamper import LoggingFailed, LogStamper, RotationLimits
from mcpwatch.runtimes.log_trouble import ToldTrouble

POLL = 0.5
"""Seconds between two looks where there is no inotify."""
GATHER = 0.03
"""Seconds after a first write in which more of them are gathered into one turn."""
RETRY = 5.0
"""Seconds after which a stream in trouble is tried again, whatever was written."""
RESERVE = 32 << 20
"""Bytes of free disk at which logging stops, so that members can still write; less on a small disk."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one turn of the thread found."""

    trouble: LoggingFailed | None = None
    more: bool = False
    floods: tuple[tuple[str, int], ...] = ()
    """Members that write faster than lines can be kept, and the lines dropped so far; 0 when a flood is over."""
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How many lines each member wrote to each stream."""
    remade: tuple[Path, ...] = ()
    """Folders in which a log was missing: they may have been removed, and not every kernel tells."""


class LogCollector:
    """Keeps the journals of one state directory. `run` until cancelled; `drain` brings all of them up to date."""

    def __init__(
        self,
        state: Path,
        publish: Publish,
        *,
        clock: Clock | None = None,
        limits: RotationLimits | None = None,
        features: Features | None = None,
        free: Callable[[Path], int] | None = None,
        on_lines: Callable[[], None] = lambda: None,
        most_open: int = 1_000_000,
    ) -> None:
        """`free` tells how many bytes may be logged before members themselves would run out; by default what the disk says.

        `on_lines` is called, in the loop, after each turn that may have put lines into a journal. Of `most_open` streams (three
        descriptors each) the files stay open; beyond that they are opened when they are written to.
        """
        self._most_open = max(1, most_open)
        self._recent: dict[Path, None] = {}
        """Streams whose files are open, the one bitten longest ago first. Belongs to the thread."""
        self._logs = state / "logs"
        self._clock = clock or SystemClock()
        self._told = ToldTrouble(publish, self._clock)
        self._limits = limits or RotationLimits()
        self._features = features or detect()
        self._free = free or _free
        self._on_lines = on_lines
        self._streams: dict[Path, LogStamper] = {}
        self._dirty: set[Path] = set()
        self._watches: dict[int, Path] = {}
        self._watched: set[Path] = set()
        self._inotify: int | None = None
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()
        self._working = threading.Lock()
        """Held by the thread that stamps: it goes on when its turn is cancelled, and two at once would stamp lines twice."""

    async def run(self) -> None:
        """Keep the journals until cancelled."""
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        self._inotify = inotify_open() if self._features.inotify else None
        self._watches.clear()
        self._watched.clear()
        if self._inotify is not None:
            loop.add_reader(self._inotify, self._heard)
        try:
            self._discover()
            self._dirty.update(self._streams)
            while True:
                turn = await self._turn(everything=self._inotify is None)
                if not turn.more:
                    await self._rest(turn)
        finally:
            if self._inotify is not None:
                loop.remove_reader(self._inotify)
                os.close(self._inotify)
                self._inotify = None

    async def drain(self) -> None:
        """Return when everything written so far by any member is in its journal (or in trouble, and told)."""
        self._discover()
        while (await self._turn(everything=True)).more:
            pass

    def retune(self, limits: RotationLimits) -> None:
        """Rotate by other limits from the next line on."""
        self._limits = limits
        for stream in self._streams.values():
            stream.limits = limits

    def close(self) -> None:
        """Close every file. For after `run` has ended."""
        with self._working:
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()

    async def _rest(self, turn: _Turn) -> None:
        """Wait for something to do, bounded where nobody would tell."""
        bound = RETRY if turn.trouble or self._told.loud else None if self._inotify is not None else POLL
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound):
                await self._wake.wait()
        if self._wake.is_set():
            await asyncio.sleep(GATHER)
        self._wake.clear()
        if turn.trouble:
            self._dirty.update(self._streams)
        if self._inotify is None:
            self._discover()

    async def _turn(self, *, everything: bool) -> _Turn:
        async with self._turning:
            todo = list(self._streams) if everything else list(self._dirty)
            self._dirty.clear()
            if not todo:
                self._told.lines({})
                return _Turn()
            done = await asyncio.to_thread(self._work, todo)
            self._told.trouble(done.trouble)
            self._told.floods(done.floods)
            self._told.lines(done.lines)
            if done.remade:
                self._watched -= {self._logs, *done.remade}
                self._discover(done.remade)
            self._on_lines()
            return done

    def _work(self, todo: list[Path]) -> _Turn:
        """In the thread: bring these streams on by one bite each."""
        with self._working:
            return self._bite([path for path in todo if path in self._streams])

    def _bite(self, todo: list[Path]) -> _Turn:
        full = self._free(self._logs) <= 0
        trouble: LoggingFailed | None = None
        more = False
        floods: list[tuple[str, int]] = []
        remade: list[Path] = []
        lines: dict[tuple[str, str], int] = {}
        for path in todo:
            stream = self._streams[path]
            self._make_room(path)
            before, written = stream.flooded, stream.lines
            try:
                bitten = stream.bite(self._clock.wall(), drop=full)
            except LoggingFailed as error:
                trouble = error
                continue
            except Exception as error:  # noqa: BLE001 - one broken log must not end those of all members
                stream.close()
                trouble = LoggingFailed(f"{path}: cannot keep this log: {type(error).__name__}: {error}")
                continue
            lines[path.parent.name, path.stem] = stream.lines - written
            if stream.remade:
                stream.remade = False
                remade.append(path.parent)
            if stream.flooded or before:
                floods.append((path.parent.name, stream.flooded))
            if bitten:
                more = True
                self._dirty.add(path)
        if full and trouble is None:
            trouble = LoggingFailed(f"{self._logs}: the disk is nearly full; logging stopped, free some space")
        return _Turn(trouble, more, tuple(floods), lines, tuple(remade))

    def _make_room(self, path: Path) -> None:
        """Close the stream that was bitten longest ago when as many are open as may be. In the thread."""
        self._recent.pop(path, None)
        self._recent[path] = None
        while len(self._recent) > self._most_open:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._streams[oldest].close()

    def _heard(self) -> None:
        """Read what inotify tells; only which file matters, not what happened to it."""
        assert self._inotify is not None
        try:
            data = os.read(self._inotify, 64 << 10)
        except BlockingIOError:
            return
        at = 0
        renewed: set[Path] = set()
        discover = False
        while at < len(data):
            number = int.from_bytes(data[at : at + 4], "little", signed=True)
            mask = int.from_bytes(data[at + 4 : at + 8], "little")
            at += 16 + int.from_bytes(data[at + 12 : at + 16], "little")
            path = self._watches.get(number)
            if mask & IN_Q_OVERFLOW:  # what was written to meanwhile was not told: look at all
                discover = True
                self._dirty.update(self._streams)
            elif mask & IN_IGNORED:  # what was watched is gone
                discover = True
                self._watched.discard(self._watches.pop(number, self._logs))
            elif path is None or path not in self._streams:
                discover = True
                renewed.add(path or self._logs)
            else:
                self._dirty.add(path)
        if discover:
            self._discover(renewed)
        if self._dirty:
            self._wake.set()

    def _discover(self, renewed: Iterable[Path] = ()) -> None:
        """Find members and raw files that are new. In the `renewed` folders a raw file may be another one of the same name."""
        with contextlib.suppress(OSError):
            self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._watch(self._logs, IN_CREATE | IN_MOVED_TO)
        for member in journal.members(self._logs.parent):
            folder = self._logs / member
            fresh = folder in renewed or folder not in self._watched
            self._watch(folder, IN_CREATE | IN_MOVED_TO)
            for name in journal.STREAMS:
                path = folder / f"{name}.raw"
                if path in self._streams:
                    if fresh:
                        self._watched.discard(path)
                        self._dirty.add(path)
                elif path.exists():
                    self._streams[path] = LogStamper(folder, name, self._limits, holes=self._features.holes)
                    self._dirty.add(path)
                else:
                    continue
                self._watch(path, IN_MODIFY)
        if self._dirty:
            self._wake.set()

    def _watch(self, path: Path, mask: int) -> None:
        if self._inotify is None or path in self._watched:
            return
        number = inotify_watch(self._inotify, path, mask)
        if number is None and not path.exists():
            return
        if number is None:  # the user's limit of watches is reached: look instead
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = None
            return
        self._watches[number] = path
        self._watched.add(path)


def _free(path: Path) -> int:
    """Free bytes beyond a reserve that is left to the members, never more than a fiftieth of the disk."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return 1
    return usage.free - min(RESERVE, usage.total // 50)
