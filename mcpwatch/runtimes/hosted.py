"""The hosted runtime: stdio servers that live inside the gateway, seen and steered through its admin socket.

The gateway itself brings a dead child back (`supervision = "theirs"`); this room tells what happened and passes on what is asked.
It must not know how the gateway is started: that is another member's matter, and "away" is all it can say of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.held import mark
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.admin import AdminClient, AdminSocket
from mcpwatch.runtimes.hosted_children import RESTING, Children, HostedDocument, read_document
from mcpwatch.runtimes.kernel import Features, detect
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.stopped import resume_tree
from mcpwatch.runtimes.usage import UsageMeter

START_WAIT = 20.0
"""Seconds that a start waits for the gateway to come and to run the child; the member's start grace where that is longer."""
LOOK_AGAIN = 0.05
"""Seconds between two looks while waiting, and before a lost gateway is tried again at first; doubles up to `LOOK_MAX`."""
LOOK_MAX = 1.0
UNKNOWN = 404


class HostedSpec(KindSpec):
    """Nothing to say: what the gateway hosts is written under `stdio`."""


class HostedRuntime:
    """Members inside the gateway."""

    name = "hosted"
    supervision: Literal["ours", "theirs"] = "theirs"

    def __init__(
        self, directory: Path, instance: str, *, features: Features | None = None, admin: AdminClient | None = None
    ) -> None:
        """`directory` is the state directory; the gateway's socket is `<directory>/proxy/admin.sock`."""
        del instance
        self._socket = directory / "proxy" / "admin.sock"
        self._admin = admin or AdminSocket(self._socket)
        self._records = Records(directory, self.name)
        self._table = ProcessTable(features or detect())
        self._meter = UsageMeter(self._table)
        self._children = Children()
        self._closed = False

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """What a gateway that outlived the last watchdog already runs: with its number, unless it began while nobody watched."""
        wanted = {spec.name: spec for spec in specs}
        records = self._records.load()
        try:
            document = await self._look()
        except RuntimeFailed:
            return ()
        found: list[Incarnation] = []
        for child in document.children:
            if child.name not in wanted or child.phase != "running" or child.pid is None:
                continue
            record = records.get(child.name)
            if record is not None and record.pid == child.pid:
                self._children.number(child.name, child.pid, record.generation)
                since = WallTime(record.started_at)
                found.append(Incarnation(child.name, record.generation, record.fingerprint, child.pid, started_at=since))
            else:
                # begun unwatched, by the file that the gateway had then: its fingerprint is not known
                self._children.pids[child.name] = child.pid
                found.append(Incarnation(child.name, None, "", child.pid))
        return tuple(found)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Ask the gateway for it, and wait until its child lives (not until it answers: a cold start may take long).

        Raises `RuntimeFailed`.
        """
        path = f"/members/{quote(spec.name, safe='')}/start"
        self.hold(spec.name, down=False)
        asked, told, last, wait = False, False, "the gateway is not up", max(START_WAIT, spec.start_grace)
        try:
            async with asyncio.timeout(wait):
                while True:
                    try:
                        if not asked:
                            reply = await self._admin.request("POST", path)
                            asked = reply.status < 300
                            last = "" if asked else f"the gateway refused ({reply.status})"
                            if reply.status == UNKNOWN and not told:  # it is of a file that the gateway would read soon
                                told = (await self._admin.request("POST", "/reload")).status > 0
                                continue
                        document = await self._look()
                        child = document.child(spec.name)
                        fresh = asked and not self._children.outdated(spec.name, document)
                        if fresh and child.lives and child.pid is not None:
                            self._children.looked(spec.name, document)
                            return self._began(spec, generation, child.pid)
                        last = child.error or last
                        if fresh and child.phase in RESTING:
                            raise _Ended(last or child.end)
                    except _Ended as ended:
                        raise RuntimeFailed(f"{spec.name}: {ended}") from None
                    except RuntimeFailed as error:
                        last = str(error)
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError:
            raise RuntimeFailed(f"{spec.name}: not running in the gateway after {wait:g}s: {last or 'no reason given'}") from None

    def number(self, living: Incarnation) -> None:
        """Keep the number that the watchdog gave to a child which the gateway brought back by itself."""
        if living.pid is not None and living.generation is not None:
            self._children.number(living.member, living.pid, living.generation)
            record = Record(
                living.member, living.generation, living.fingerprint, pid=living.pid, started_at=self._since(living.pid)
            )
            self._records.note(record)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """Have the gateway stop and hold it. A gateway that is away, or does not know it, runs nothing of it."""
        await self._stop(spec, grace + START_WAIT)

    async def release(self, spec: MemberSpec) -> None:
        """As `ports.Replacing`: end what runs, but for what the next gateway has begun already: that is what is to come."""
        try:
            document = await self._look()
        except RuntimeFailed:
            return
        if not self._children.successor(document):
            await self._stop(spec, spec.stop_grace + START_WAIT, only=document.gateway)

    async def _stop(self, spec: MemberSpec, limit: float, only: int | None = None) -> None:
        """`only`: what any other gateway than this runs stays."""
        path, ask = f"/members/{quote(spec.name, safe='')}/stop", True
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        if ask:
                            await self._admin.request("POST", path)
                        document = await self._look()
                    except RuntimeFailed:
                        if spec.name not in self._children.pids:
                            return
                        ask = True  # it is heard to run: the gateway is slow to answer, or there is another by now
                    else:
                        if _at_rest(spec.name, document):
                            break
                        if only not in (None, document.gateway):
                            return
                        ask = document.child(spec.name).phase != "held"  # it is another gateway than the one that was asked
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError:
            raise RuntimeFailed(f"{spec.name}: the gateway did not stop it within {limit:g}s") from None
        self._children.looked(spec.name, document)

    def hold(self, member: str, *, down: bool) -> None:
        """As `ports.Holding`: no gateway that begins, or reads its file again, starts it by itself."""
        mark(self._socket, member, down=down)

    async def resume(self, spec: MemberSpec) -> None:
        """SIGCONT to whoever of the child's tree is stopped."""
        pid = self._children.pids.get(spec.name)
        if pid is not None:
            await asyncio.to_thread(resume_tree, self._table, pid)

    async def nudge(self, members: Sequence[str]) -> tuple[str, ...]:
        """Have the gateway connect at once to these members, hosted or by URL: they were just seen to answer.

        A gateway that does not know one of them reads its file again first. Returns the names that it serves then. Nothing is
        restarted. Raises `RuntimeFailed` when the gateway is away.
        """
        paths = {name: f"/members/{quote(name, safe='')}/nudge" for name in members}
        served = [name for name, path in paths.items() if (await self._admin.request("POST", path)).status < 300]
        if unknown := [name for name in paths if name not in served]:
            await self._admin.request("POST", "/reload")
            served += [name for name in unknown if (await self._admin.request("POST", paths[name])).status < 300]
        return tuple(name for name in members if name in served)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Ends and returns of children, and of the gateway as a whole, until closed."""
        pause, seen = LOOK_AGAIN, False
        while not self._closed:
            reason = ""
            self._children.opened()
            try:
                async for name, data in self._admin.events():
                    if name == "snapshot" and not seen:
                        seen, pause = True, LOOK_AGAIN
                        yield Gone(self.name, back=True)
                    for event in self._children.hear(name, data):
                        if isinstance(event, Exited | Appeared):
                            self._meter.forget(event.member)  # of one that a reload replaced, no end is told
                        yield event
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                reason = str(error) or type(error).__name__
            if seen:
                seen = False
                self._children.lost()
                yield Gone(self.name, reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LOOK_MAX)

    def usage(self, member: str) -> Usage | None:
        """What the child's tree uses."""
        return self._meter.look(member, lambda: self._children.pids)

    async def close(self) -> None:
        """Let go of the gateway."""
        self._closed = True

    def _began(self, spec: MemberSpec, generation: int, pid: int) -> Incarnation:
        generation = self._children.number(spec.name, pid, generation)
        known = Record(spec.name, generation, spec.fingerprint, pid=pid, started_at=self._since(pid))
        self._records.note(known)
        return Incarnation(spec.name, generation, spec.fingerprint, pid, started_at=WallTime(known.started_at))

    def _since(self, pid: int) -> float:
        """When a child began, by the kernel: what it wrote before the gateway told of it is of its present run."""
        try:
            child = self._table.look(pid)
        except ProcUnreadable:
            child = None
        return self._table.started_at(child.ticks) if child is not None else time.time()

    async def _look(self) -> HostedDocument:
        """What the gateway carries now. Raises `RuntimeFailed` when it is away."""
        return read_document((await self._admin.request("GET", "/members")).body)


def _at_rest(member: str, document: HostedDocument) -> bool:
    """Whether the gateway holds it, or does not know it, and nothing of it runs."""
    child = document.child(member)
    return child.pid is None and child.phase in ("held", "")


class _Ended(Exception):
    """The gateway started it, and it ended."""
