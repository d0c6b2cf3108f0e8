"""A stdio server as a process of ours: spawn, lines out and in, death, and the end of its whole tree.

Owns pipes, process group and exit. Must not know JSON-RPC, sessions or restarts.
Death is learned from a pidfd in the loop; where the system has none, from a thread that waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcpwatch import stdio_container
from mcpwatch.gateway.upstream import spawn
from mcpwatch.gateway.upstream.pipe import Pipe
from mcpwatch.gateway.upstream.process_liveness import ProcessLiveness, death
from mcpwatch.gateway.upstream.spawn import Command
from mcpwatch.model.restart import exit_words

LINE_LIMIT = 64 * 1024 * 1024
"""A longer line of a child is dropped (bytes)."""
EOF_GRACE, TERM_GRACE = 2.0, 3.0
"""Seconds from the closed stdin to SIGTERM, and from there to SIGKILL."""
LAST_WORDS = 0.05
"""Seconds that a dead child's unread output may take to arrive."""
SWEEPS = 20
"""Looks for what a dead child left behind: it may be starting more of it."""
STDERR_LINE = 2000
STDOUT_GRACE = 1.0
"""Seconds that a child may live after it closed its stdout: it can answer nothing any more."""
EDGE = 256
"""Bytes kept of the beginning and the end of a line that is too long."""

log = logging.getLogger("mcpwatch.gateway")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code, or the signal that killed it."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is None and self.code is not None:
            return exit_words(self.code)
        return f"killed by signal {self.signal}" if self.signal is not None else "ended"


class Child:
    """One running stdio server. `on_line` gets every line of its stdout, `on_exit` is called once, after the last line.

    `on_drop` gets the first and last bytes of every line that was too long. `on_mute` is called when it lives on without stdout.
    """

    def __init__(
        self,
        command: Command,
        on_line: Callable[[bytes], None],
        on_exit: Callable[[Exit], None],
        on_drop: Callable[[bytes, bytes], None],
        on_mute: Callable[[], None],
    ) -> None:
        self._command = command
        self._on_line = on_line
        self._on_exit = on_exit
        self._on_drop = on_drop
        self._on_mute = on_mute
        self._mute: asyncio.TimerHandle | None = None
        self._process: spawn.SpawnedProcess | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._stdin: Pipe | None = None
        self._readers: list[asyncio.ReadTransport] = []
        self._watch: asyncio.Task[None] | None = None
        self._pulse = ProcessLiveness(0)
        self._eof = asyncio.Event()
        self._gone = asyncio.Event()
        self.read: int | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Run the command. Raises `SpawnFailed`."""
        process = self._process = spawn.take(self._command)
        self._pulse = ProcessLiveness(process.pid)
        loop = asyncio.get_running_loop()
        assert process.stdin is not None
        assert process.stdout is not None
        self._watch = loop.create_task(self._await_death(), name=f"death of {self._command.name}")
        self._stdin = Pipe(os.dup(process.stdin.fileno()))
        process.stdin.close()
        await self._read(process.stdout, _Lines(self._on_line, self._stdout_ended, self._drop))
        if process.stderr is not None:
            await self._read(process.stderr, _Lines(self._tell, lambda: None, self._drop_stderr))

    def write(self, line: bytes) -> int:
        """Give the child one line, without its end. Returns all it was given so far (bytes), 0 when it is gone or too slow."""
        if self._stdin is None or self._pulse.dying():
            return 0
        return self._stdin.write(line + b"\n")

    async def stop(self) -> None:
        """End the child and everything it started: closed stdin, SIGTERM, SIGKILL; returns when it is gone."""
        if self._process is None:
            return
        if self._stdin is not None:
            self._stdin.close()
        tree = descendants(self.pid)
        for grace, number in ((EOF_GRACE, signal.SIGTERM), (TERM_GRACE, signal.SIGKILL)):
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._gone.wait()
                break
            tree |= descendants(self.pid)
            self._signal(number)
        await self._gone.wait()
        for pid in tree:
            with suppress(ProcessLookupError, PermissionError):
                if variable(pid, "MCPWATCH_HOSTED") == self._command.name:
                    os.kill(pid, signal.SIGKILL)
        if self._sweep is not None:
            await self._sweep

    def kill(self) -> None:
        """SIGKILL the process group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def _read(self, pipe: IO[bytes], protocol: asyncio.Protocol) -> None:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        self._readers.append(transport)

    async def _await_death(self) -> None:
        assert self._process is not None
        await death(self._process.pid)
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        self._sweep = asyncio.get_running_loop().create_task(
            asyncio.to_thread(sweep, self._process.mark), name=f"sweep of {self._command.name}"
        )
        self.read = self._stdin.read() if self._stdin is not None else None
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._eof.wait()
        await self._remove_container(spawn.container_file(self._process))
        self._pulse.close()
        for transport in (self._stdin, *self._readers):
            if transport is not None:
                transport.close()
        self._gone.set()
        if self._mute is not None:
            self._mute.cancel()
        self._on_exit(Exit(None, -code) if code < 0 else Exit(code, None))

    async def _remove_container(self, file: Path | None) -> None:
        """The container of a docker client that ended: it would go on, and keep its name from the next one."""
        if file is not None and (problem := await asyncio.to_thread(stdio_container.remove, file)):
            log.warning("%s: %s", self._command.name, problem)

    def _stdout_ended(self) -> None:
        self._eof.set()
        if self._watch is not None and not self._watch.done():
            self._mute = asyncio.get_running_loop().call_later(STDOUT_GRACE, self._on_mute)

    def _drop_stderr(self, head: bytes, tail: bytes) -> None:  # noqa: ARG002
        log.warning("%s: a line of stderr of more than %d bytes was dropped", self._command.name, LINE_LIMIT)

    def _drop(self, head: bytes, tail: bytes) -> None:
        self._on_drop(head, tail)
        log.warning("%s: a line of more than %d bytes was dropped", self._command.name, LINE_LIMIT)

    def _tell(self, line: bytes) -> None:
        log.info("%s: stderr: %s", self._command.name, line[:STDERR_LINE].decode(errors="replace"))


@dataclass(slots=True)
class _LongLine:
    """A line that is too long: its first and last bytes, how much came since that was seen, whether it was told of."""

    head: bytes
    tail: bytes
    size: int = 0
    told: bool = False


class _Lines(asyncio.Protocol):
    """Cuts a stream into lines."""

    def __init__(
        self, on_line: Callable[[bytes], None], on_eof: Callable[[], None], on_drop: Callable[[bytes, bytes], None]
    ) -> None:
        self._on_line, self._on_eof, self._on_drop = on_line, on_eof, on_drop
        self._parts: list[bytes] = []
        self._size = 0
        self._long: _LongLine | None = None

    def data_received(self, data: bytes) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts, self._size = [], 0
        for line in lines:
            if self._long is not None:
                self._end_long(self._long, line)
            elif line:
                self._on_line(line)
        if self._long is not None:
            self._skip(self._long, rest)
        elif rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > LINE_LIMIT:
                line = b"".join(self._parts)
                self._long = _LongLine(line[:EDGE], line[-EDGE:])
                self._parts, self._size = [], 0

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._long is not None:
            self._end_long(self._long, b"")
        if self._parts:
            self._on_line(b"".join(self._parts))
            self._parts = []
        self._on_eof()

    def _skip(self, line: _LongLine, more: bytes) -> None:
        """More of it. One that never ends is told of after as much again."""
        line.tail = (line.tail + more[-EDGE:])[-EDGE:]
        line.size += len(more)
        if line.size > LINE_LIMIT and not line.told:
            line.told = True
            self._on_drop(line.head, b"")

    def _end_long(self, line: _LongLine, more: bytes) -> None:
        self._skip(line, more)
        if not line.told:
            self._on_drop(line.head, line.tail)
        self._long = None


def descendants(pid: int) -> set[int]:
    """Every process below `pid` now, where the system lists children (Linux); also those that left the group."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        for listing in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with suppress(OSError):
                children = {int(item) for item in listing.read_text().split()} - found
                found |= children
                todo.extend(children)
    return found


def variable(pid: int, name: str) -> str | None:
    """A mark in the environment of a process, so that a number used again is never signalled."""
    with suppress(OSError):
        for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if item.startswith(f"{name}=".encode()):
                return item.partition(b"=")[2].decode(errors="replace")
    return None


def sweep(mark: str) -> None:
    """SIGKILL whoever carries this mark: what a server that ended left behind in a session of its own. Blocking."""
    for _ in range(SWEEPS):
        left = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if variable(int(entry.name), "MCPWATCH_BEGUN") == mark]
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
