"""The shipper: one thread that takes lines from the files, oldest first, and keeps sending until Loki has them.

One batch is in flight at a time and its positions are saved when it is stored, so SIGKILL at any moment costs at most sending one
batch again, which Loki recognises line by line. Nothing here ever waits for the event loop, and nothing waits for this.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from mcpwatch.model.time import WallTime, iso
from mcpwatch.telemetry import batch as batches
from mcpwatch.telemetry.backlog import oldest_line
from mcpwatch.telemetry.batch import LogEntry, PushResponse
from mcpwatch.telemetry.readings import Shipping
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.segments import STAMP_WIDTH, Chunk, Position, SegmentSource, Stamps, backlog, read, sources
from mcpwatch.telemetry.spec import LokiSpec
from mcpwatch.telemetry.spool import SPOOL, DeadLetters, OwnSpool, Positions

SHARES = 4
"""One source may fill this part of a batch before the next gets its turn."""
MOST_SPLITS = 32
"""Times one batch that Loki refuses in part is halved, to find the lines it means."""
JOIN_TIMEOUT = 3.0
"""Seconds that `stop` waits for the thread; what it was doing is done again at the next start."""
MEASURE_EVERY = 5.0
"""Seconds between two looks at the size of the backlog."""
REST_MAX = 60.0
"""Seconds after which it looks again without having been told of a line."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """Lines on their way, and where the sources stand once they are stored. Belongs to the shipper's thread."""

    entries: list[LogEntry] = field(default_factory=list[LogEntry])
    positions: dict[str, Position] = field(default_factory=dict[str, Position])
    size: int = 0
    streams: set[str] = field(default_factory=set[str])
    full: bool = False
    too_old: int = 0
    lost: int = 0

    def __bool__(self) -> bool:
        return bool(self.entries or self.positions)


class Shipper:
    """Ships the journals in `state` and the own spool by `push`. `on_error` hears a new trouble, and "" when it is over."""

    def __init__(
        self,
        spec: LokiSpec,
        push: Callable[[bytes], PushResponse],
        state: Path,
        spool: OwnSpool,
        *,
        wall: Callable[[], WallTime],
        redact: Redactor | None = None,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spec = spec
        self._push = push
        self._state = state
        self._spool = spool
        self._host = spec.host or socket.gethostname()
        self._wall = wall
        self._redact = redact or Redactor()
        self._on_error = on_error
        self._positions = Positions(state / SPOOL)
        self._dead = DeadLetters(state / SPOOL, spec.dead_bytes)
        self._stamps = Stamps()
        self._labels: dict[tuple[str, str], str] = {}
        self._turn = 0
        self._splits = MOST_SPLITS
        self._measured = -MEASURE_EVERY
        self._pushes: Counter[str] = Counter(dict(Shipping().pushes))
        self._dropped: Counter[str] = Counter()
        self._luck = random.Random()  # noqa: S311 - jitter
        self._shipping = Shipping(dead_bytes=self._dead.size)
        self._stop = threading.Event()
        self._news = threading.Event()
        spool.on_line = self._news.set
        self._thread = threading.Thread(target=self._run, name="loki", daemon=True)

    @property
    def shipping(self) -> Shipping:
        """How it goes; readable from any thread."""
        return self._shipping

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = JOIN_TIMEOUT) -> None:
        """End within `timeout`; what is not shipped waits on disk."""
        self._stop.set()
        self._news.set()
        self._thread.join(timeout)

    def wake(self) -> None:
        """There are new lines: send them soon. From any thread."""
        self._news.set()

    def gather(self) -> Batch:
        """The next lines of all sources, each source in turn, up to the caps of the spec."""
        found = [*sources(self._state), self._spool.source]
        batch = Batch()
        share = max(4096, self._spec.batch_bytes // SHARES)
        start = self._turn % len(found)
        for source in (*found[start:], *found[:start]):
            self._turn += 1
            self._fill(batch, source, min(self._spec.batch_bytes, batch.size + share))
            if batch.full or len(batch.entries) >= self._spec.batch_lines:
                break
        return batch

    def deliver(self, batch: Batch) -> bool:
        """Send until stored or refused for good, then move the positions on; False when told to stop before that."""
        self._splits = MOST_SPLITS
        if batch.entries and not self._send(batch.entries):
            return False
        known = {source.key for source in sources(self._state)} | {self._spool.source.key}
        gone = {key for key in self._positions.of if key not in known}
        lost = batch.lost + sum(max(0, p.size - p.offset) for key, p in self._positions.of.items() if key in gone)
        self._positions.save(batch.positions, gone)
        self._dropped["too_old"] += batch.too_old
        self._note(lost_bytes=self._shipping.lost_bytes + lost)
        self._trouble("")
        return True

    # the thread

    def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            try:
                self._news.clear()
                batch = self.gather()
                if batch and not self.deliver(batch):
                    return
                self._look_after()
                attempt = 0
                if not batch:
                    self._rest()
            except Exception as error:  # noqa: BLE001 - a full disk or a bad file must not end the shipping for ever
                self._trouble(f"cannot ship logs: {type(error).__name__}: {error}")
                attempt += 1
                self._stop.wait(max(self._spec.wait, batches.pause(attempt, None, self._luck.random())))

    def _rest(self) -> None:
        """Everything is shipped: wait for a line, then let some more come."""
        self._news.wait(REST_MAX)
        self._stop.wait(self._spec.wait)

    def _look_after(self) -> None:
        """Keep the own spool within its cap, and know how much waits: also, and above all, while Loki is away."""
        position = self._positions.of.get(self._spool.source.key)
        self._dropped["spool_full"] += self._spool.trim(position, self._spec.spool_bytes)
        self._measure()

    def _fill(self, batch: Batch, source: SegmentSource, until: int) -> None:
        position = self._positions.of.get(source.key)
        while batch.size < until and not batch.full and len(batch.entries) < self._spec.batch_lines:
            chunk = read(source, batch.positions.get(source.key, position))
            if chunk is None:
                return
            batch.lost += 0 if source is self._spool.source else chunk.lost
            batch.positions[source.key] = self._take(batch, source, chunk, until)

    def _take(self, batch: Batch, source: SegmentSource, chunk: Chunk, until: int) -> Position:
        """Put lines of one chunk into the batch; where the source then stands."""
        own = source is self._spool.source
        oldest = round((self._wall() - self._spec.max_age) * 1e9)
        offset, last = chunk.start.offset, chunk.start.last
        for number, line in enumerate(chunk.lines):
            if batch.size >= until or len(batch.entries) >= self._spec.batch_lines:
                break
            at = self._stamps(line)
            text = (line if at is None else line[STAMP_WIDTH + 1 :]).decode("utf-8", "replace")
            now = max(at or 0, last + 1)
            length = len(line) + (0 if chunk.ended and number + 1 == len(chunk.lines) else 1)
            if now < oldest:
                batch.too_old += 1
            else:
                entry = self._entry(source, now, text, own=own)
                size = batches.weight(entry, len(line) - len(text), new=entry.stream not in batch.streams)
                if batch.entries and batch.size + size > self._spec.batch_bytes:
                    batch.full = True
                    break
                batch.entries.append(entry)
                batch.streams.add(entry.stream)
                batch.size += size
            last, offset = now, offset + length
        return replace(chunk.start, offset=offset, last=last)

    def _entry(self, source: SegmentSource, at: int, text: str, *, own: bool) -> LogEntry:
        inline = self._spec.metadata == "inline"
        if own:
            try:
                kept = cast("dict[str, Any]", json.loads(text))
                stream = self._stream(str(kept["m"]), str(kept["s"]))
                return LogEntry(stream, at, batches.value(at, str(kept["l"]), kept["d"], inline=inline))
            except (ValueError, KeyError, TypeError):
                pass
        return LogEntry(self._stream(source.member, source.stream), at, batches.value(at, self._redact.known(text)))

    def _stream(self, member: str, stream: str) -> str:
        key = (member, stream)
        if key not in self._labels:
            self._labels[key] = batches.labels("mcpwatch", self._host, member, stream, self._spec.labels)
        return self._labels[key]

    def _send(self, entries: list[LogEntry]) -> bool:
        body = batches.body(entries)
        attempt = 0
        while True:
            answer = self._push(body)
            self._pushes[answer.code] += 1
            fate = batches.judge(answer)
            if fate == "done":
                self._note(sent=self._shipping.sent + len(entries))
                return True
            if len(entries) > 1 and (fate == "split" or (fate == "dead" and self._may_halve(entries, answer))):
                middle = len(entries) // 2
                return self._send(entries[:middle]) and self._send(entries[middle:])
            if fate in {"dead", "split"}:
                self._refuse(entries, body, answer)
                return True
            attempt += 1
            self._trouble(batches.complaint(answer))
            self._look_after()
            if self._stop.wait(batches.pause(attempt, answer.retry_after, self._luck.random())):
                return False

    def _may_halve(self, entries: list[LogEntry], answer: PushResponse) -> bool:
        """Loki stores what is good of a refused batch; sending halves again stores nothing twice and finds what is bad."""
        self._splits -= 1
        return self._splits >= 0 and batches.ignored(answer) < len(entries)

    def _refuse(self, entries: list[LogEntry], body: bytes, answer: PushResponse) -> None:
        count = min(batches.ignored(answer) or len(entries), len(entries))
        name = f"{entries[0].at}-{hashlib.sha256(entries[0].stream.encode()).hexdigest()[:8]}"
        reason = {
            "at": iso(self._wall()),
            "status": answer.status,
            "reason": answer.text[:2000],
            "refused_lines": count,
            "lines": len(entries),
        }
        self._dead.write(name, body, reason)
        self._note(
            rejected=self._shipping.rejected + count,
            sent=self._shipping.sent + len(entries) - count,
            dead_bytes=self._dead.size,
        )
        _log.warning("Loki refused %d of %d lines for good (HTTP %d): %.200s", count, len(entries), answer.status, answer.text)

    def _trouble(self, text: str) -> None:
        if text != self._shipping.error:
            self._note(error=text)
            self._on_error(text)

    def _measure(self) -> None:
        now = self._wall()
        if abs(now - self._measured) < MEASURE_EVERY:
            self._note()
            return
        self._measured = now
        left, oldest = 0, None
        for source in (*sources(self._state), self._spool.source):
            position = self._positions.of.get(source.key)
            size = backlog(source, position)
            if size:
                left += size
                since = oldest_line(source, position, self._stamps)
                oldest = since if oldest is None else min(oldest, since)
        self._note(backlog_bytes=left, oldest=oldest)

    def _note(self, **changed: Any) -> None:
        dropped = {"too_old": 0, "spool_full": 0, **self._dropped, "unwritable": self._spool.failed}
        self._shipping = replace(self._shipping, **changed, dropped=tuple(dropped.items()), pushes=tuple(self._pushes.items()))
