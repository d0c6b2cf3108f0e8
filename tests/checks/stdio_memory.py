"""A stdio server in memory, and the machine that spawns and kills it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcpwatch.checks import stdio as module
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.stdio import StdioWire
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.model.probe import Target
from tests.checks.memory import HELLO, MODERN
from tests.virtual import VirtualClock, VirtualLoop, run

Json = dict[str, Any]


class Pipe:
    """The stdin of a child: hands every line to the child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.closed = False

    def write(self, data: bytes) -> None:
        if self._child.returncode is not None:
            raise BrokenPipeError
        self._child.hears(json.loads(data))

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True
        if self._child.ends_with_stdin:
            self._child.end(0)


class Child:
    """A server in memory. `program` answers a request, or returns nothing to be silent."""

    def __init__(self, program: Callable[[Child, Json], Json | None]) -> None:
        self._program = program
        self.ended = asyncio.Event()
        self.pid = 4242
        self.returncode: int | None = None
        self.ends_with_stdin = True
        self.stdin = Pipe(self)
        self.stdout = asyncio.StreamReader()
        self.stderr = asyncio.StreamReader()
        self.heard: list[Json] = []

    def hears(self, message: Json) -> None:
        self.heard.append(message)
        said = self._program(self, message)
        if said is not None:
            self.say({"jsonrpc": "2.0", "id": message.get("id"), **said})

    def say(self, message: object) -> None:
        self.stdout.feed_data((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")

    def end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self.stdout.feed_eof()
            self.stderr.feed_eof()
            self.ended.set()

    async def wait(self) -> int:
        await self.ended.wait()
        return self.returncode or 0


REFUSED = {"error": {"code": -32601, "message": "no such method"}}


def old(child: Child, message: Json) -> Json | None:
    """A server of a handshake version."""
    if "id" not in message or "method" not in message:
        return None
    return {"result": HELLO} if message["method"] == "initialize" else {"result": {}} if "list" in message["method"] else REFUSED


def new(child: Child, message: Json) -> Json | None:
    """A server of 2026-07-28."""
    return (
        {"result": MODERN} if message["method"] == "server/discover" else {"result": {}} if "list" in message["method"] else REFUSED
    )


class Machine:
    """Where children are spawned and killed; notes both."""

    def __init__(self, *programs: Callable[[Child, Json], Json | None] | OSError) -> None:
        self._programs = list(programs)
        self.spawned: list[tuple[tuple[str, ...], Json]] = []
        self.children: list[Child] = []
        self.signals: list[tuple[str, int, int]] = []
        self.slow = 0.0
        """Seconds that each spawning takes."""
        self.dies_of: set[int] = {signal.SIGTERM, signal.SIGKILL}

    async def spawn(self, *command: str, **how: Any) -> Child:
        self.spawned.append((command, how))
        await asyncio.sleep(self.slow)
        program = self._programs.pop(0) if len(self._programs) > 1 else self._programs[0]
        if isinstance(program, OSError):
            raise program
        self.children.append(Child(program))
        return self.children[-1]

    def killpg(self, group: int, number: int) -> None:
        self.signals.append(("group", group, number))
        if number in self.dies_of:
            self.children[-1].end(-number)

    def marked(self, mark: str) -> list[int]:
        return [7, 8]

    def kill(self, pid: int, number: int) -> None:
        self.signals.append(("process", pid, number))
        if pid == 7:
            raise ProcessLookupError


SERVER = Target(command=("server", "--stdio"), env=(("KEY", "value"),))


def play(
    machine: Machine, scene: Callable[[StdioWire, ProbeTimeline], Awaitable[None]], target: Target = SERVER, timeout: float = 10
) -> None:
    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline = ProbeTimeline(timeout)
        wire = StdioWire(target, timeline)
        async with timeline.scope:
            await scene(wire, timeline)
        wire.abort()
        await asyncio.sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", machine.spawn)
        patch.setattr(os, "killpg", machine.killpg)
        patch.setattr(os, "kill", machine.kill)
        patch.setattr(module, "marked", machine.marked)
        run(within)


def opening(machine: Machine, target: Target = SERVER, timeout: float = 10) -> tuple[ProbeFailure | None, StdioWire, ProbeTimeline]:
    """How opening ended."""
    found: list[tuple[ProbeFailure | None, StdioWire, ProbeTimeline]] = []

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        try:
            await wire.open()
        except ProbeFailure as failure:
            found.append((failure, wire, timeline))
        else:
            found.append((None, wire, timeline))

    play(machine, scene, target, timeout)
    return found[0]


def methods(child: Child) -> list[str]:
    return [str(message.get("method")) for message in child.heard]
