"""One resource followed without polling: listed once, then watched with bookmarks, and listed again only when the server says so.

Owns: resource versions, `410 Gone`, pauses, what away means. Runs in a thread of its own and posts what it saw. Must not know: what
the objects mean.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.api import ApiRefused, Cluster, ClusterAway, LineStream, Query, StreamCut
from mcpwatch.runtimes.kubernetes.raw import Object, word

WATCH_SECONDS = 300.0
"""A watch is asked for so long, up to twice that by chance, so that many of them do not end at once."""
FIRST_PAUSE = 0.5
"""Seconds before a failed watch is tried again at first; doubled up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 30.0
SHORT_SECONDS = 5.0
"""A stream that is cut sooner says that the server cannot be followed; later, that something between us ends long connections."""
GONE = 410


@dataclass(frozen=True, slots=True)
class WatchSource:
    """What is followed: the path of a collection, and which of its objects."""

    path: str
    labels: str = ""
    fields: str = ""

    @property
    def query(self) -> Query:
        """Its selectors as the API takes them."""
        made = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in made.items() if value}


@dataclass(frozen=True, slots=True)
class FullList:
    """Everything there is now; what was known before and is not among it is gone."""

    source: WatchSource
    objects: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was added, changed or (`deleted`) removed."""

    source: WatchSource
    object: Object
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Silent:
    """The source cannot be followed now, and why; `back` when it can again. `forbidden`: our rights do not allow it."""

    source: WatchSource
    detail: str = ""
    back: bool = False
    forbidden: bool = False


Heard = FullList | Changed | Silent
Post = Callable[[Heard], None]


class Watch:
    """Follows one source until closed."""

    def __init__(self, cluster: Cluster, source: WatchSource, post: Post) -> None:
        """Starts at once. `post` is called in the watch's own thread."""
        self.source = source
        self._cluster = cluster
        self._post = post
        self._closed = threading.Event()
        self._stream: LineStream | None = None
        self._silent = False
        self._version = ""
        """How far we are; empty: to be listed."""
        self._opened = 0.0
        self.requests = 0
        """Requests made so far: lists and watches."""
        self._thread = threading.Thread(target=self._follow, name=f"kubernetes {source.path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it. Returns at once; the thread ends by itself."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _follow(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
                pause = FIRST_PAUSE
                if time.monotonic() - self._opened > SHORT_SECONDS:
                    continue
            except StreamCut as cut:
                if time.monotonic() - self._opened > SHORT_SECONDS:
                    pause = FIRST_PAUSE
                else:
                    self._lost(str(cut))
            except ApiRefused as refused:
                if refused.status == GONE and self._version:
                    self._version = ""
                else:
                    self._lost(str(refused), forbidden=refused.status == 403)
            except RuntimeFailed as error:
                self._lost(str(error))
            except Exception as error:  # noqa: BLE001 - an answer of another shape must not end the watch for good
                self._version = ""
                self._lost(f"an answer that cannot be read: {type(error).__name__}: {error}")
            self._closed.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    def _list(self) -> None:
        self.requests += 1
        objects, version = self._cluster.list(self.source.path, self.source.query)
        self._post(FullList(self.source, tuple(objects)))
        self._version = version

    def _watch(self) -> None:
        """Follow from the version that is known to the end of the stream. An error in it is answered by a list."""
        self.requests += 1
        seconds = WATCH_SECONDS * random.uniform(1.0, 2.0)  # noqa: S311
        self._stream = stream = self._cluster.watch(self.source.path, self.source.query, self._version, seconds)
        self._opened = time.monotonic()
        self._heard()
        if self._closed.is_set():
            stream.close()
        for change in stream.changes():
            if change.kind == "ERROR":
                self._version = ""
                if change.object.get("code") == GONE:
                    return
                raise ClusterAway(str(change.object.get("message") or "the watch failed"))
            self._version = word(change.object, "metadata", "resourceVersion") or self._version
            if change.kind != "BOOKMARK":
                self._post(Changed(self.source, change.object, deleted=change.kind == "DELETED"))

    def _lost(self, detail: str, *, forbidden: bool = False) -> None:
        if not self._silent and not self._closed.is_set():
            self._silent = True
            self._post(Silent(self.source, detail, forbidden=forbidden))

    def _heard(self) -> None:
        if self._silent:
            self._silent = False
            self._post(Silent(self.source, back=True))
