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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcpwatch import journal
from mcpwatch.clock import Clock, SystemClock
from mcpwatch.model.fact import Troubled
from mcpwatch.ports import Publish
from mcpwatch.runtimes.kernel import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Features, detect, inotify_open, inotify_watch
from mcpwatch.runtimes.log_stamper import Limits, LoggingFailed, LogStamper

POLL = 0.5
"""Seconds between two looks where there is no inotify."""
GATHER = 0.03
"""Seconds after a first write in which more of them are gathered into one turn."""
RETRY = 5.0
"""Seconds after which a stream in trouble is tried again, whatever was written."""
RESERVE = 32 << 20
"""Bytes of free disk at which logging stops, so that members can still write; less on a small disk."""
SUBJECT = "logs"


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one turn of the thread found."""

    trouble: LoggingFailed | None = None
    more: bool = False


class LogCollector:
    """Keeps the journals of one state directory. `run` until cancelled; `drain` brings all of them up to date."""

    def __init__(
        self,
        state: Path,
        publish: Publish,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        features: Features | None = None,
        free: Callable[[Path], int] | None = None,
        on_lines: Callable[[], None] = lambda: None,
    ) -> None:
        """`free` tells how many bytes may be logged before members themselves would run out; by default what the disk says.

        `on_lines` is called, in the loop, after each turn that may have put lines into a journal.
        """
        self._logs = state / "logs"
        self._publish = publish
        self._clock = clock or SystemClock()
        self._limits = limits or Limits()
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
        self._trouble = ""

    async def run(self) -> None:
        """Keep the journals until cancelled."""
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        self._inotify = inotify_open() if self._features.inotify else None
        if self._inotify is not None:
            loop.add_reader(self._inotify, self._heard)
        try:
            self._discover()
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

    def retune(self, limits: Limits) -> None:
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
        bound = RETRY if turn.trouble else None if self._inotify is not None else POLL
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
                return _Turn()
            done = await asyncio.to_thread(self._work, todo)
            self._tell(done.trouble)
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
        for path in todo:
            try:
                bitten = self._streams[path].bite(self._clock.wall(), drop=full)
            except LoggingFailed as error:
                trouble = error
                continue
            if bitten:
                more = True
                self._dirty.add(path)
        if full and trouble is None:
            trouble = LoggingFailed(
                f"{self._logs}: the disk is nearly full; logging stopped so that members go on, free some space"
            )
        return _Turn(trouble, more)

    def _tell(self, trouble: LoggingFailed | None) -> None:
        words = str(trouble) if trouble else ""
        if bool(words) == bool(self._trouble):
            return
        text = words or "members' output is logged again"
        level = "error" if words else "info"
        self._publish(Troubled(at=self._clock.wall(), text=text, level=level, subject=SUBJECT, cleared=not words))
        self._trouble = words

    def _heard(self) -> None:
        """Read what inotify tells; only which file matters, not what happened to it."""
        assert self._inotify is not None
        try:
            data = os.read(self._inotify, 64 << 10)
        except BlockingIOError:
            return
        at, created = 0, False
        while at < len(data):
            number = int.from_bytes(data[at : at + 4], "little", signed=True)
            mask = int.from_bytes(data[at + 4 : at + 8], "little")
            at += 16 + int.from_bytes(data[at + 12 : at + 16], "little")
            path = self._watches.get(number)
            if path is None or mask & (IN_CREATE | IN_MOVED_TO) or path not in self._streams:
                created = created or path is None or path not in self._streams
            else:
                self._dirty.add(path)
        if created:
            self._discover()
        if self._dirty:
            self._wake.set()

    def _discover(self) -> None:
        """Find members and raw files that are new."""
        self._watch(self._logs, IN_CREATE | IN_MOVED_TO)
        for member in journal.members(self._logs.parent):
            folder = self._logs / member
            self._watch(folder, IN_CREATE | IN_MOVED_TO)
            for name in journal.STREAMS:
                path = folder / f"{name}.raw"
                if path not in self._streams and path.exists():
                    self._streams[path] = LogStamper(folder, name, self._limits, holes=self._features.holes)
                    self._watch(path, IN_MODIFY)
                    self._dirty.add(path)
                    self._wake.set()

    def _watch(self, path: Path, mask: int) -> None:
        if self._inotify is None or path in self._watched:
            return
        number = inotify_watch(self._inotify, path, mask)
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
