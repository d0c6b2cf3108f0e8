"""The hosted runtime: stdio servers that live inside the gateway, seen and steered through its admin socket.

The gateway itself brings a dead child back (`supervision = "theirs"`); this room tells what happened and passes on what is asked.
It must not know how the gateway is started: that is another member's matter, and "away" is all it can say of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import quote

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.ports import Appeared, Exited, Gone, Incarnation, RuntimeEvent
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.admin import events, request
from mcpwatch.runtimes.kernel import Features, detect
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.stopped import resume_tree
from mcpwatch.runtimes.usage import Meter

START_WAIT = 20.0
"""Seconds that a start waits for the gateway to come and to run the child; the member's start grace where that is longer."""
LOOK_AGAIN = 0.05
"""Seconds between two looks while waiting, and before a lost gateway is tried again at first; doubles up to `LOOK_MAX`."""
LOOK_MAX = 1.0


class HostedSpec(KindSpec):
    """Nothing to say: what the gateway hosts is written under `stdio`."""


class HostedRuntime:
    """Members inside the gateway. `socket` is its admin socket."""

    name = "hosted"
    supervision: Literal["ours", "theirs"] = "theirs"

    def __init__(self, directory: Path, instance: str, *, features: Features | None = None) -> None:
        """`directory` is the state directory; the gateway's socket is `<directory>/proxy/admin.sock`."""
        del instance
        self.socket = directory / "proxy" / "admin.sock"
        self._records = Records(directory, self.name)
        self._table = ProcessTable(features or detect())
        self._meter = Meter(self._table)
        self._latest: dict[str, Record] = {}
        self._pids: dict[str, int] = {}
        self._down: set[str] = set()  # members whose end, or whose carrier's, was told and whose return was not
        self._closed = False

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """What a gateway that outlived the last watchdog already runs."""
        wanted = {spec.name for spec in specs}
        self._latest = {name: record for name, record in self._records.load().items() if name in wanted}
        try:
            reply = await request(self.socket, "GET", "/members")
        except RuntimeFailed:
            return ()
        found: list[Incarnation] = []
        for child in _children(reply.body):
            if child.name not in wanted or child.phase != "running" or child.pid is None:
                continue
            record = self._latest.get(child.name)
            if record is None or record.pid != child.pid:
                record = Record(child.name, (record.generation if record else 0) + 1, record.fingerprint if record else "")
            found.append(self._began(record, child.pid))
        return tuple(found)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Ask the gateway for it, and wait until its child lives (not until it answers: a cold start may take long).

        Raises `RuntimeFailed`.
        """
        record = Record(spec.name, generation, spec.fingerprint)
        self._latest[spec.name] = record
        self._down.discard(spec.name)
        path = f"/members/{quote(spec.name, safe='')}/start"
        asked, last, wait = False, "the gateway is not up", max(START_WAIT, spec.start_grace)
        try:
            async with asyncio.timeout(wait):
                while True:
                    try:
                        if not asked:
                            reply = await request(self.socket, "POST", path)
                            asked = reply.status < 300
                            last = "" if asked else f"the gateway refused ({reply.status})"
                        child = await self._state(spec.name)
                        if asked and (child.phase == "running" or (child.phase == "starting" and child.pid is not None)):
                            newer = self._latest[spec.name]
                            # it may have ended and come back meanwhile; the events told so, and that generation is the living one
                            return self._began(newer if newer.generation > generation else record, child.pid)
                        last = child.error or last
                        if asked and child.phase in ("backoff", "failed", "ended"):
                            raise _Ended(last or "it ended as soon as it was started")
                    except _Ended as ended:
                        self._down.add(spec.name)  # its end is told by this: when it comes back, that is a generation of its own
                        raise RuntimeFailed(f"{spec.name}: {ended}") from None
                    except RuntimeFailed as error:
                        last = str(error)
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError:
            self._down.add(spec.name)
            raise RuntimeFailed(f"{spec.name}: not running in the gateway after {wait:g}s: {last or 'no reason given'}") from None

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """Have the gateway stop and hold it. A gateway that is away, or does not know it, runs nothing of it."""
        try:
            async with asyncio.timeout(grace + START_WAIT):
                await request(self.socket, "POST", f"/members/{quote(spec.name, safe='')}/stop")
                while (await self._state(spec.name)).pid is not None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_AGAIN)
        except RuntimeFailed:
            return
        except TimeoutError:
            raise RuntimeFailed(f"{spec.name}: the gateway did not stop it within {grace + START_WAIT:g}s") from None

    async def resume(self, spec: MemberSpec) -> None:
        """SIGCONT to whoever of the child's tree is stopped."""
        pid = self._pids.get(spec.name)
        if pid is not None:
            resume_tree(self._table, pid)

    async def nudge(self, members: Sequence[str]) -> tuple[str, ...]:
        """Have the gateway connect at once to these members, hosted or by URL: they were just seen to answer.

        Returns the names that the gateway serves. Nothing is restarted. Raises `RuntimeFailed` when the gateway is away.
        """
        replies = [await request(self.socket, "POST", f"/members/{quote(name, safe='')}/nudge") for name in members]
        return tuple(name for name, reply in zip(members, replies, strict=True) if reply.status < 300)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Ends and returns of children, and of the gateway as a whole, until closed."""
        pause, seen = LOOK_AGAIN, False
        while not self._closed:
            reason = ""
            try:
                async for name, data in events(self.socket):
                    if name == "snapshot" and not seen:
                        seen, pause = True, LOOK_AGAIN
                        yield Gone(self.name, back=True)
                    for event in self._read(name, data):
                        yield event
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                reason = str(error) or type(error).__name__
            if seen:
                seen = False
                self._down.update(self._pids)
                self._pids.clear()
                yield Gone(self.name, reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LOOK_MAX)

    def usage(self, member: str) -> Usage | None:
        """What the child's tree uses."""
        return self._meter.look(member, lambda: self._pids)

    async def close(self) -> None:
        """Let go of the gateway."""
        self._closed = True

    def _read(self, name: str, data: object) -> tuple[RuntimeEvent, ...]:
        """What one event of the gateway means."""
        if name == "snapshot":
            return tuple(event for child in _children(data) for event in self._found(child))
        child = _child(data, "member")
        if name in ("started", "connected") and child.pid is not None:
            return self._appeared(child.name, child.pid)
        return (self._ended(child),) if name == "exited" else ()

    def _found(self, child: _Child) -> tuple[RuntimeEvent, ...]:
        """What a snapshot says of one child. One that is another than it was ended while nothing was heard: that is told too."""
        held = self._pids.get(child.name)
        lives = child.phase in ("starting", "running") and child.pid is not None
        over = lives or child.phase in ("backoff", "failed", "ended")  # "held" may be from before the start that was just asked for
        missed = (self._ended(child),) if over and held is not None and held != child.pid else ()
        return (*missed, *(self._appeared(child.name, child.pid or 0) if lives else ()))

    def _ended(self, child: _Child) -> RuntimeEvent:
        self._pids.pop(child.name, None)
        self._meter.forget(child.name)
        self._down.add(child.name)
        generation = self._latest[child.name].generation if child.name in self._latest else 0
        return Exited(child.name, generation, child.code, child.signal, detail=child.error)

    def _appeared(self, member: str, pid: int) -> tuple[RuntimeEvent, ...]:
        if self._pids.get(member) == pid:
            return ()
        record = self._latest.get(member, Record(member, 0))
        if member in self._down or member in self._pids:  # a return that nobody here asked for is a generation of its own
            record = Record(member, record.generation + 1, record.fingerprint)
        self._meter.forget(member)  # of one that a reload replaced, no end was told
        self._began(record, pid)
        return (Appeared(member, pid),)

    def _began(self, record: Record, pid: int | None) -> Incarnation:
        known = Record(record.member, record.generation, record.fingerprint, pid=pid, started_at=time.time())
        self._latest[record.member] = self._records.note(known)
        self._down.discard(record.member)
        if pid is not None:
            self._pids[record.member] = pid
        return Incarnation(known.member, known.generation, known.fingerprint, pid, started_at=WallTime(known.started_at))

    async def _state(self, name: str) -> _Child:
        reply = await request(self.socket, "GET", "/members")
        return next((child for child in _children(reply.body) if child.name == name), _Child(name))


class _Ended(Exception):
    """The gateway started it, and it ended."""


@dataclass(frozen=True, slots=True)
class _Child:
    """A hosted server as the gateway tells of it, as far as it matters here."""

    name: str = ""
    phase: str = ""
    pid: int | None = None
    error: str = ""
    code: int | None = None
    signal: int | None = None


def _child(data: object, key: str = "name") -> _Child:
    if not isinstance(data, dict):
        return _Child()
    fields = cast("dict[str, object]", data)

    def number(name: str, among: dict[str, object] = fields) -> int | None:
        value = among.get(name)
        return value if isinstance(value, int) else None

    def text(name: str) -> str:
        return str(fields.get(name) or "")

    last = fields.get("last_exit")
    ended = cast("dict[str, object]", last) if isinstance(last, dict) else fields
    return _Child(text(key), text("phase"), number("pid"), text("error"), number("code", ended), number("signal", ended))


def _children(data: object) -> list[_Child]:
    if not isinstance(data, dict):
        return []
    members = cast("dict[str, object]", data).get("members")
    return [_child(member) for member in cast("list[object]", members)] if isinstance(members, list) else []
