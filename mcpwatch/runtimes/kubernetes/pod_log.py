"""The output of pods, copied line by line into the member's one journal, stamped by the nodes' clocks.

Owns: going on exactly where the last watchdog stopped, for each pod by itself: no line is lost, none is written twice, also
when the watchdog died between a line and its note. The format is that of `mcpwatch.journal`. Must not know: why pods come and go.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mcpwatch.journal import cut, rotated_name, stamp
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.api import ApiRefused, Cluster, ClusterAway, LineStream

ROTATE_BYTES = 10 * 1024**2
KEPT_FILES = 5
KEPT_SOURCES = 64
"""Pods whose positions are remembered."""
RETRY_SECONDS = 1.0
LONGEST_RETRY = 30.0
Entry = tuple[int, bytes]
"""A line: nanoseconds since the epoch, text."""


@dataclass(slots=True)
class _Position:
    """How far a pod's output was copied: stamp of the last line, and how many lines had that stamp."""

    at: int = 0
    same: int = 0
    skip_same: int = 0
    """Lines of that stamp that will be sent again."""
    beyond: int = 0
    """Lines after it that are on disk already."""


class MemberLog:
    """The journal of one member. Several threads may add to it, one for each pod."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "stdout.log"
        self._directory = directory
        self._note = directory / "stdout.pods"
        self._lock = threading.Lock()
        self._positions: dict[str, _Position] = {}
        self._last = 0
        self._writing = ""
        self._recall()

    def resume(self, source: str) -> float:
        """The output of `source` is read anew: the second to ask it from (0: everything)."""
        with self._lock:
            position = self._positions.setdefault(source, _Position())
            position.skip_same = position.same
            return position.at / 1e9

    def add(self, source: str, entries: list[Entry]) -> None:
        """Write what is new of these lines, in their order."""
        with self._lock:
            position = self._positions.setdefault(source, _Position())
            fresh = [entry for entry in entries if self._is_new(position, entry)]
            if fresh:
                self._write(source, position, fresh)

    @staticmethod
    def _is_new(position: _Position, entry: Entry) -> bool:
        if entry[0] < position.at:
            return False
        if entry[0] == position.at and position.skip_same > 0:
            position.skip_same -= 1
            return False
        if position.beyond > 0:
            position.beyond -= 1
            position.same = position.same + 1 if entry[0] == position.at else 1
            position.at = entry[0]
            return False
        return True

    def _write(self, source: str, position: _Position, entries: list[Entry]) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rotate()
        if self._writing != source:
            self._writing = source
            self._keep()  # whoever finds lines without a note must know whose they are
        lines: list[bytes] = []
        for at, text in entries:
            for _, part in cut(text + b"\n"):
                self._last = max(at // 1000, self._last + 1)
                lines.append(stamp(self._last / 1e6).encode() + b" " + part + b"\n")
        with self.path.open("ab") as file:
            file.write(b"".join(lines))
        at = entries[-1][0]
        position.same = sum(1 for entry in entries if entry[0] == at) + (position.same if at == position.at else 0)
        position.at = at
        self._keep()

    def _keep(self) -> None:
        """The note beside the journal, replaced as a whole."""
        inode = size = 0
        with suppress(OSError):
            found = self.path.stat()
            inode, size = found.st_ino, found.st_size
        newest = sorted(self._positions.items(), key=lambda item: item[1].at)[-KEPT_SOURCES:]
        positions = {source: (position.at, position.same) for source, position in newest}
        note = {"inode": inode, "size": size, "last": self._last, "writing": self._writing, "positions": positions}
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(note), encoding="utf-8")
        fresh.replace(self._note)

    def _recall(self) -> None:
        try:
            note = json.loads(self._note.read_bytes())
            self._positions = {source: _Position(int(at), int(same)) for source, (at, same) in note["positions"].items()}
            self._last, self._writing = int(note["last"]), str(note["writing"])
            known = int(note["size"]) if self.path.stat().st_ino == note["inode"] else 0
            with self.path.open("rb") as file:
                file.seek(known)
                beyond = sum(1 for line in file.read().split(b"\n") if line)
        except (OSError, ValueError, TypeError, KeyError):
            return
        if beyond and self._writing:
            self._positions.setdefault(self._writing, _Position()).beyond = beyond

    def _rotate(self) -> None:
        try:
            if self.path.stat().st_size < ROTATE_BYTES:
                return
        except OSError:
            return
        with self.path.open("rb") as file:
            first = file.read(27).decode("ascii", "replace")
        self.path.rename(self._directory / rotated_name("stdout", first))
        for old in sorted(self._directory.glob("stdout.*.log"))[:-KEPT_FILES]:
            old.unlink(missing_ok=True)


class PodFollower:
    """Follows the output of one run of one container to its end, in a thread."""

    def __init__(self, cluster: Cluster, path: str, source: str, container: str, log: MemberLog, *, previous: bool) -> None:
        """`path` is the pod's; `previous`: also what the run before said and nobody copied."""
        self._cluster = cluster
        self._path = f"{path}/log"
        self._source = source
        self._container = container
        self._log = log
        self._previous = previous
        self._closed = threading.Event()
        self._stream: LineStream | None = None
        self._thread = threading.Thread(target=self._follow, name=f"pod-log {path.rpartition('/')[2]}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether everything was copied, or it was closed."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Let go. What was not copied is copied by the next follower of this pod."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _follow(self) -> None:
        pause = RETRY_SECONDS
        if self._previous:
            with suppress(RuntimeFailed, OSError):
                self._copy(follow=False, previous=True)
        while not self._closed.is_set():
            try:
                self._copy(follow=True, previous=False)
                return
            except ApiRefused as refused:
                if refused.status in {401, 403, 404}:
                    return
            except (ClusterAway, OSError):
                pass
            self._closed.wait(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    def _copy(self, *, follow: bool, previous: bool) -> None:
        since = self._log.resume(self._source)
        query = {"timestamps": "true", **({"container": self._container} if self._container else {})}
        query |= {"follow": "true"} if follow else {}
        query |= {"previous": "true"} if previous else {}
        if since:
            query["sinceTime"] = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._stream = stream = self._cluster.logs(self._path, query)
        if self._closed.is_set():
            stream.close()
        for batch in stream.batches():
            self._log.add(self._source, [split(line) for line in batch])


def split(line: bytes) -> Entry:
    """A line of the API as its time and text. One without a stamp is as old as can be."""
    head, found, text = line.partition(b" ")
    try:
        whole, _, fraction = head.decode().removesuffix("Z").partition(".")
        seconds = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0, line.rstrip(b"\r")
    nanoseconds = int(fraction.ljust(9, "0")[:9]) if fraction.isdigit() else 0
    return int(seconds) * 1_000_000_000 + nanoseconds, (text if found else b"").rstrip(b"\r")
