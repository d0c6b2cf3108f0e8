"""The stdio wire: a server spawned for the probe, spoken to line by line, ended with everything it started.

The child gets a session of its own and a mark in its environment, by which descendants that left the session are found.
Knows processes and lines; the handshake is tried modern first, then legacy, because any error may mean "not modern".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import uuid
from collections import defaultdict, deque
from pathlib import Path

from mcpwatch.checks import rpc
from mcpwatch.checks.failure import MESSAGE_LIMIT, PLACE_MAX, TEXT_MAX, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.stateless import envelope
from mcpwatch.checks.stdout import Stdout
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.wire import MODERN_VERSION, client_info, initialize_params, modern_info, server_info
from mcpwatch.http_client.dial import OUT_OF_RESOURCES
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Target, Transport

STRAYS_MAX = 10_000
"""Lines that are not our answer, read in one call."""
STDERR_LINES = 20
"""Last lines of stderr kept."""
DISCOVER_SHARE = 0.3
"""Share of the time left that a server may take to say whether it is modern."""
DISCOVER_MOST = 5.0
"""Seconds after which it is asked as an older one, however much time is left: some never answer what they do not know."""
CLOSE_GRACE = 0.2
"""Seconds a server gets to end after its stdin closed, and again after SIGTERM."""
REAP_LIMIT = 2.0
"""Seconds to wait for the kernel after SIGKILL."""
MARK = "MCPWATCH_PROBE"
_BORNE = re.compile(rb"(?:^|\0)MCPWATCH_PROBE=([0-9a-f]{32})(?:\0|$)")
"""The mark in the environment of a process."""


class StdioWire:
    """One stdio server, alive for one probe."""

    name: Transport = "stdio"

    def __init__(self, target: Target, timeline: ProbeTimeline) -> None:
        self._target = target
        self._timeline = timeline
        self._mark = uuid.uuid4().hex
        self._child: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._number = 0
        self._modern = False
        self._awaited: rpc.Awaited | None = None
        self._stdout = Stdout()
        self.digest = b""
        self.hello: Message = {}
        self.server = ServerInfo(wire="stdio")

    async def open(self) -> None:
        """Spawn the server and go through whichever handshake it knows."""
        self._timeline.enter(Stage.SPAWN)
        await self._spawn()
        self._timeline.enter(Stage.DISCOVER)
        asked = True
        try:
            if await self._discovered():
                return
        except ProbeFailure as failure:
            if failure.symptom is not Symptom.EXITED:
                raise
            await self._second_life()
            asked = False
        self._timeline.enter(Stage.INITIALIZE)
        try:
            result = await self.call("initialize", initialize_params(client_info()))
        except ProbeFailure as failure:
            failure.stage = Stage.INITIALIZE
            if failure.symptom is Symptom.RPC_ERROR and await self._discovered():
                return  # a modern server that was slow to start heard our first question after all, and refuses this one
            if failure.symptom is not Symptom.EXITED or not asked:
                raise
            await self._second_life()  # it was slow to start, and died of our first question only now
            self._timeline.enter(Stage.INITIALIZE)
            result = await self.call("initialize", initialize_params(client_info()))
        self.hello, self.server = result, server_info(result, "stdio")
        self._timeline.enter(Stage.INITIALIZED)
        await self._write(rpc.notification("notifications/initialized"))

    async def _second_life(self) -> None:
        """Start it again: some old servers die of a method they do not know, and are not asked that question then."""
        self._modern = False
        self.abort()
        self._timeline.enter(Stage.SPAWN)
        await self._spawn()

    async def call(self, method: str, params: Message) -> Message:
        """Write a request and read lines until its answer."""
        self._number += 1
        self._awaited = awaited = rpc.Awaited(self._number, method)
        await self._write(rpc.request(self._number, method, envelope(params) if self._modern else params))
        for _ in range(STRAYS_MAX):
            line = await self._line(method)
            for message in self._stdout.messages(line):
                if awaited.is_in(message):
                    self.digest = rpc.digest(line)
                    return rpc.outcome(message, method)
                if rpc.asks(message):
                    await self._write(rpc.reply(message))
        raise awaited.unanswered(f"{STRAYS_MAX} other lines came instead of the answer to {method}")

    async def close(self) -> None:
        """Close stdin, wait, SIGTERM, wait, then SIGKILL everything that bears our mark."""
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        for number in (None, signal.SIGTERM):
            if number is not None:
                self._signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE):
                    await child.wait()
                break
        self.abort()

    def abort(self) -> None:
        """Kill the whole tree at once."""
        child = self._child
        if child is None:
            return
        self._signal(signal.SIGKILL)
        for pid in marked(self._mark):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self._drain is not None:
            self._drain.cancel()
        self._child = None

    async def reap(self, child: asyncio.subprocess.Process | None) -> None:
        """Wait until the kernel has the child's end, so that no zombie is left."""
        if child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REAP_LIMIT):
                    await child.wait()

    @property
    def child(self) -> asyncio.subprocess.Process | None:
        """The living child."""
        return self._child

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """A passed deadline, with what came instead of the answer, or what the server last wrote to stdout or stderr."""
        instead = self._awaited.missing() if self._awaited is not None else None
        if instead is not None:
            return instead
        line = self._stdout.instead()
        if line:
            return ProbeFailure(Symptom.POLLUTED, f"no message came on stdout, but this: {line}", said=line, stage=stage)
        tail = self._tail()
        return (
            ProbeFailure(Symptom.TIMEOUT, f"no answer within the deadline of stage {stage}", said=tail, stage=stage)
            if tail
            else None
        )

    def remarks(self) -> list[ProbeFailure]:
        """The lines of stdout that are no messages."""
        lines = self._stdout.polluted
        if not lines:
            return []
        text = f"{len(lines)} lines of its stdout are no messages, the first: {lines[0]}"
        return [ProbeFailure(Symptom.POLLUTED, text, said=lines[0], stage=Stage.TOOLS_LIST)]

    async def _spawn(self) -> None:
        command = self._target.command
        beneath = os.environ if self._target.beneath is None else dict(self._target.beneath)
        environment = {**beneath, **dict(self._target.env), MARK: self._mark}
        if not command:
            raise ProbeFailure(Symptom.NOT_FOUND, "no command is given")
        try:
            self._child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd=self._target.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in OUT_OF_RESOURCES:
                raise  # it is the prober that cannot
            reason = getattr(error, "strerror", None) or str(error)
            raise ProbeFailure(Symptom.NOT_FOUND, f"{one_line(command[0], PLACE_MAX)} cannot be run: {reason}") from error
        self._drain = asyncio.get_running_loop().create_task(self._read_stderr(self._child))

    async def _discovered(self) -> bool:
        """Whether the server is modern. Any error, or silence, means that it is not."""
        self._modern = True
        try:
            async with asyncio.timeout(min(self._timeline.left * DISCOVER_SHARE, DISCOVER_MOST)):
                result = await self.call("server/discover", {})
        except TimeoutError:
            self._modern = False
        except ProbeFailure as failure:
            if failure.symptom in (Symptom.EXITED, Symptom.TOO_LARGE):
                raise
            self._modern = False
        else:
            versions = result.get("supportedVersions")
            self._modern = isinstance(versions, list) and MODERN_VERSION in versions
            if self._modern:
                self.hello, self.server = result, modern_info(result, "stdio")
        return self._modern

    def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            raise ProbeFailure(Symptom.EXITED, "the server is not running")
        return self._child

    async def _write(self, body: bytes) -> None:
        child = self._running()
        assert child.stdin is not None
        with contextlib.suppress(ConnectionError):  # its end is told by stdout
            child.stdin.write(body + b"\n")
            await child.stdin.drain()

    async def _line(self, method: str) -> bytes:
        child = self._running()
        assert child.stdout is not None
        line = await self._stdout.line(child.stdout)
        if not line:
            raise await self._exited(child, method)
        return line

    async def _exited(self, child: asyncio.subprocess.Process, method: str) -> ProbeFailure:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE):
                await child.wait()
                if self._drain is not None:
                    await self._drain
        code = child.returncode
        if code is None:
            how = "closed its stdout"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"exited with code {code}"
        polluted = self._stdout.polluted[-1:]
        said = self._tail() or "".join(polluted)
        how += "".join(f" (its stdout said: {line})" for line in polluted)
        return ProbeFailure(Symptom.EXITED, f"the server {how} before it answered {method}", said=said)

    def _tail(self) -> str:
        return one_line(" | ".join(list(self._stderr)[-3:]), MESSAGE_LIMIT)

    async def _read_stderr(self, child: asyncio.subprocess.Process) -> None:
        """Keep the child from blocking on a full pipe, and remember its last classify."""
        assert child.stderr is not None
        rest = b""
        while piece := await child.stderr.read(65536):
            *whole, rest = (rest + piece).split(b"\n")
            self._stderr.extend(one_line(line, TEXT_MAX) for line in whole[-STDERR_LINES:] if line)
            rest = rest[-4096:]
        if rest:
            self._stderr.append(one_line(rest, TEXT_MAX))

    def _signal(self, number: signal.Signals) -> None:
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, number)


def marked(mark: str) -> list[int]:
    """The processes whose environment bears our mark (Linux; elsewhere none are found)."""
    found: defaultdict[str, list[int]] = defaultdict(list)  # by the mark they bear: no condition decides who is killed
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError):
            for borne in _BORNE.findall(entry.read_bytes()):
                found[borne.decode()].append(int(entry.parent.name))
    return found[mark]
