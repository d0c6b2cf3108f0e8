"""The event stream of the engine in a thread of its own: starts, ends, pauses and changed networks of containers, none lost.

Owns: listening, resuming after a dropped connection from the last event heard, telling when the engine is away and back.
Must not know: members.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from docker.types.daemon import CancellableStream

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two tries to reach an engine that is away."""
KILLED = 128 + 9
SOON_AFTER = 10_000_000_000
"""Nanoseconds after a kill for memory within which the end of the main process counts as its consequence."""


@dataclass(frozen=True, slots=True)
class ContainerEnded:
    """A run of a container ended at `at` (nanoseconds, engine's clock). `now` is the container just after, if it still exists."""

    container: str
    at: int
    code: int | None
    oom: bool
    now: Container | None


@dataclass(frozen=True, slots=True)
class Away:
    """The engine does not answer."""

    detail: str


@dataclass(frozen=True, slots=True)
class Back:
    """The engine answers again."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A container was paused, or (`back`) runs again."""

    container: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Rewired:
    """A container that runs joined a network or left one."""

    now: Container


def by_memory(code: int | None, flag: bool, ago: int | None = None) -> bool:
    """Whether a container ended for its memory. `flag`: something in it was killed for that once, as the engine says.

    `ago`: nanoseconds since the latest such kill that was heard of, `None` when none was. The kernel kills by SIGKILL alone; a
    main process whose worker was killed may end with a code of its own, at once.
    """
    if ago is not None:
        return ago <= SOON_AFTER
    return flag and code in (None, KILLED)


@dataclass(frozen=True, slots=True)
class Began:
    """A container of this name was started, by whomever."""

    name: str


Heard = ContainerEnded | Away | Back | Frozen | Rewired | Began


class Events:
    """Listens to one engine until closed; `post` is called from the thread with everything heard, in order."""

    def __init__(self, engine: Engine, post: Callable[[Heard], None]) -> None:
        self._engine = engine
        self._post = post
        self._since = ""
        self._last: tuple[int, str, str] = (0, "", "")
        self._oom: dict[str, int] = {}
        """When the kernel last killed something in a container for its memory: nanoseconds, engine's clock."""
        self._closed = threading.Event()
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._thread = threading.Thread(target=self._listen, name=f"docker-events {engine.where}", daemon=True)

    def open(self) -> None:
        """Begin to listen, from now on the engine's clock. Raises `RuntimeFailed` when the engine is away: then call it again."""
        if not self._since:
            self._engine.connect()
            self._since = self._engine.now()
            self._thread.start()

    def close(self) -> None:
        """Stop listening; the thread ends by itself soon after."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            try:
                stream.close()
            except Exception:  # noqa: BLE001  # the SDK digs for a socket that may just have gone
                self._stream = None

    def _listen(self) -> None:
        away, pause = False, FIRST_PAUSE
        while not self._closed.is_set():
            try:
                if away:
                    self._engine.connect()
                self._stream = self._engine.events(self._since)
                if away:
                    self._post(Back())
                away, pause = False, FIRST_PAUSE
                for event in self._stream:
                    self._hear(event)
                self._closed.wait(FIRST_PAUSE)
            except RuntimeFailed as error:
                if not away and not self._closed.is_set():
                    self._post(Away(str(error)))
                away = True
                self._closed.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _seen(self, container: str) -> Container | None:
        try:
            return self._engine.find(container)
        except RuntimeFailed:
            return None  # going away; what it was is told by the event

    def _hear(self, event: dict[str, Any]) -> None:
        actor: dict[str, Any] = event.get("Actor") or {}
        at, container, action = int(event.get("timeNano", 0)), str(actor.get("ID", "")), str(event.get("Action", ""))
        if (at, container, action) == self._last:
            return  # the engine repeats the last event after `since`
        self._last = (at, container, action)
        self._since = f"{at // 1_000_000_000}.{at % 1_000_000_000:09d}"
        attributes: dict[str, Any]
        if action in ("connect", "disconnect"):
            attributes = actor.get("Attributes") or {}
            now = self._seen(str(attributes.get("container", "")))
            if now is not None and now.running:  # one that ends leaves its networks too
                self._post(Rewired(now))
        elif action in ("pause", "unpause"):
            self._post(Frozen(container, back=action == "unpause"))
        elif action == "start":
            attributes = actor.get("Attributes") or {}
            self._post(Began(str(attributes.get("name", ""))))
        elif action == "oom":
            self._oom[container] = at
        elif action == "die":
            now = self._seen(container)
            attributes = actor.get("Attributes") or {}
            code = str(attributes.get("exitCode", ""))
            ended = int(code) if code.lstrip("-").isdigit() else None
            killed = self._oom.pop(container, None)
            oom = by_memory(ended, now is not None and now.oom, at - killed if killed is not None else None)
            self._post(ContainerEnded(container, at, ended, oom, now))
