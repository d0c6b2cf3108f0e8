"""The hosted servers of a gateway as its documents and events tell of them: which process lives, and which generation it is.

Pure: documents and events in, what they mean out. It counts nothing: the watchdog gives every incarnation its number (`number`).
Documents are asked for and events are streamed, side by side, so an event can come after a document that is newer. The gateway
counts its events, and every document says how many there were (`sequence`): what a document has shown already is not news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from mcpwatch.model.incarnation import Appeared, Exited, Hindered, Parked, RuntimeEvent
from mcpwatch.model.restart import exit_words

NUMBERS_MAX = 8
"""Incarnations of a member whose numbers are known: the living one, and late words about those before it."""
LIVING = frozenset({"starting", "running"})
TOLD = frozenset({"started", "connected", "exited"})
"""Events that begin or end an incarnation."""
SERVED = ("oldest_call", "last_answer", "last_tool_answer", "last_progress", "given_up", "answers")
"""What a document tells of requests of a server's clients: seconds until now, but for `answers`, how many in the last minute."""
RESTING = frozenset({"backoff", "failed", "ended"})
"""Phases of the gateway in which a server that was started has ended. `held` may be from before the start just asked for."""


@dataclass(frozen=True, slots=True)
class HostedChild:
    """A hosted server as the gateway tells of it, as far as it matters here."""

    name: str = ""
    phase: str = ""
    pid: int | None = None
    error: str = ""
    code: int | None = None
    signal: int | None = None
    served: Mapping[str, float] = field(default_factory=dict[str, float])
    """What is told of its clients' requests (`SERVED`): seconds, and how many."""

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self.phase in LIVING and self.pid is not None

    @property
    def end(self) -> str:
        """How it ended right after its start, in words."""
        if self.signal is not None:
            return f"killed by signal {self.signal}"
        return exit_words(self.code) if self.code is not None else "it ended as soon as it was started"


@dataclass(frozen=True, slots=True)
class HostedDocument:
    """What a gateway (its pid) carries after so many events; `None` where it does not say so."""

    gateway: int | None = None
    sequence: int | None = None
    children: tuple[HostedChild, ...] = ()

    def child(self, name: str) -> HostedChild:
        """The one of that name; one that is nowhere when there is none."""
        return next((child for child in self.children if child.name == name), HostedChild(name))


class Children:
    """What is known of all hosted servers. `pids` are those of the living ones."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self._numbers: dict[str, dict[int, int]] = {}
        self._seen: dict[str, tuple[HostedDocument, int]] = {}
        self._heard: dict[str, int] = {}
        self._hindered: set[str] = set()
        self._gateway: int | None = None
        self._stream = 0

    def number(self, member: str, pid: int, generation: int) -> int:
        """This process is this generation, unless a later one was already said of it. Returns which one it is."""
        numbers = self._numbers.setdefault(member, {})
        numbers[pid] = max(generation, numbers.pop(pid, 0))
        while len(numbers) > NUMBERS_MAX:
            del numbers[next(iter(numbers))]
        self.pids[member] = pid
        return numbers[pid]

    def looked(self, member: str, document: HostedDocument) -> None:
        """A stop or a start of this member ended with this document: whatever happened before it is accounted for."""
        self._seen[member] = document, self._stream
        if document.child(member).pid is None:
            self.pids.pop(member, None)

    def opened(self) -> None:
        """From now on it is another stream that is heard."""
        self._stream += 1

    def successor(self, document: HostedDocument) -> bool:
        """Whether another gateway wrote this document than the one that is heard, or was heard last."""
        return None not in (self._gateway, document.gateway) and document.gateway != self._gateway

    def outdated(self, member: str, document: HostedDocument) -> bool:
        """Whether more was heard of this member since this document was written."""
        if document.sequence is None or document.gateway != self._gateway:
            return False
        return document.sequence < self._heard.get(member, 0)

    def lost(self) -> None:
        """Nothing is heard of any of them any more."""
        self.pids.clear()
        self._heard.clear()

    def hear(self, name: str, data: object) -> tuple[RuntimeEvent, ...]:
        """What one event of the gateway means."""
        if name == "snapshot":
            document = read_document(data)
            self._gateway = document.gateway
            news = [child for child in document.children if not self._past(child.name, document.sequence, shown=True)]
            return tuple(event for child in news for event in self._shown(child))
        child, sequence = read_child(data, "member"), _number(data, "sequence")
        if name == "parked":
            return () if self._past(child.name, sequence) else (Parked(child.name),)
        if child.pid is None or name not in TOLD:
            return self._not_begun(child) if name == "exited" and child.pid is None else ()
        self._heard[child.name] = sequence or 0
        past = self._past(child.name, sequence)
        if name in ("started", "connected") and not past:
            return (*self._begun(child.name), *self._appeared(child.name, child.pid))
        return self._ended(child, child.pid, past=past) if name == "exited" else ()

    def _past(self, member: str, sequence: int | None, *, shown: bool = False) -> bool:
        """Whether a word of the stream is older than the last document of this member. An equally old snapshot is as good."""
        seen, stream = self._seen.get(member, (None, 0))
        if seen is None or seen.sequence is None or sequence is None:
            return False
        if seen.gateway != self._gateway:
            return stream == self._stream  # it was another gateway that answered while this stream was open: a later one
        return sequence < seen.sequence or (sequence == seen.sequence and not shown)

    def _shown(self, child: HostedChild) -> tuple[RuntimeEvent, ...]:
        """A snapshot shows one. One that is another than it was ended while nothing was heard: that is told too."""
        held = self.pids.get(child.name)
        over = child.lives or child.phase in RESTING
        missed = self._ended(child, held) if over and held is not None and held != child.pid else ()
        if not child.lives or child.pid is None:
            return (*missed, Parked(child.name)) if child.phase == "failed" else missed
        return (*missed, *self._begun(child.name), *self._appeared(child.name, child.pid))

    def _not_begun(self, child: HostedChild) -> tuple[RuntimeEvent, ...]:
        """The gateway tried to bring it back, and nothing ran: why is the reason now, and not how it ended before."""
        if not child.error:
            return ()
        self._hindered.add(child.name)
        return (Hindered(child.name, "member_down", f"the member is down: {child.error}"),)

    def _begun(self, member: str) -> tuple[RuntimeEvent, ...]:
        if member not in self._hindered:
            return ()
        self._hindered.discard(member)
        return (Hindered(member),)

    def _appeared(self, member: str, pid: int) -> tuple[RuntimeEvent, ...]:
        if self.pids.get(member) == pid:
            return ()
        self.pids[member] = pid
        return (Appeared(member, pid),)

    def _ended(self, child: HostedChild, pid: int, *, past: bool = False) -> tuple[RuntimeEvent, ...]:
        """An end has the number of the process that ended, however late it is told. For one without a number, nobody waits."""
        numbers, living = self._numbers.get(child.name, {}), self.pids.get(child.name)
        generation = numbers.get(pid)
        if living == pid:
            if past:
                return ()  # its pid is used again
            del self.pids[child.name]
        elif living is not None and numbers.get(living) == generation:
            return ()  # it died within the start that the living one came of
        if generation is None:
            return ()
        return (Exited(child.name, generation, child.code, child.signal, detail=child.error),)


def read_document(data: object) -> HostedDocument:
    """A document of the gateway, from parsed JSON."""
    if not isinstance(data, dict):
        return HostedDocument()
    fields = cast("dict[str, object]", data)
    members = fields.get("members")
    children = tuple(read_child(member) for member in cast("list[object]", members)) if isinstance(members, list) else ()
    return HostedDocument(_number(fields, "pid"), _number(fields, "sequence"), children)


def read_child(data: object, key: str = "name") -> HostedChild:
    """One server of a document, or with `key="member"` the one an event is about, from parsed JSON."""
    if not isinstance(data, dict):
        return HostedChild()
    fields = cast("dict[str, object]", data)
    last = fields.get("last_exit")
    ended = cast("dict[str, object]", last) if isinstance(last, dict) else fields
    text = [str(fields.get(name) or "") for name in (key, "phase", "error")]
    served = {name: float(value) for name in SERVED if isinstance(value := fields.get(name), int | float)}
    return HostedChild(text[0], text[1], _number(fields, "pid"), text[2], _number(ended, "code"), _number(ended, "signal"), served)


def _number(data: object, name: str) -> int | None:
    value = cast("dict[str, object]", data).get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) else None
