"""A stdio server as a process of ours: spawn, lines out and in, death, and the end of its whole tree.

Owns pipes, process group and exit. Must not know JSON-RPC, sessions or restarts.
Death is learned from a pidfd in the loop; where the system has none, from a thread that waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcpwatch.gateway.upstream import spawn
from mcpwatch.gateway.upstream.pipe import Pipe
from mcpwatch.gateway.upstream.process_liveness import ProcessLiveness, death
from mcpwatch.gateway.upstream.spawn import Command

LINE_LIMIT = 64 * 1024 * 1024
"""A longer line of a child is dropped (bytes)."""
EOF_GRACE, TERM_GRACE = 2.0, 3.0
"""Seconds from the closed stdin to SIGTERM, and from there to SIGKILL."""
LAST_WORDS = 0.05
"""Seconds that a dead child's unread output may take to arrive."""
STDERR_LINE = 2000

log = logging.getLogger("mcpwatch.gateway")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code, or the signal that killed it."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        return f"killed by signal {self.signal}" if self.signal is not None else f"exited with code {self.code}"


class Child:
    """One running stdio server. `on_line` gets every line of its stdout, `on_exit` is called once, after the last line.

    `on_drop` is called for every line that was too long.
    """

    def __init__(
        self, command: Command, on_line: Callable[[bytes], None], on_exit: Callable[[Exit], None], on_drop: Callable[[], None]
    ) -> None:
        self._command = command
        self._on_line = on_line
        self._on_exit = on_exit
        self._on_drop = on_drop
        self._process: subprocess.Popen[bytes] | None = None
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
        await self._read(process.stdout, _Lines(self._on_line, self._eof.set, self._drop))
        if process.stderr is not None:
            await self._read(process.stderr, _Lines(self._tell, lambda: None, self._drop))

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
                if _hosted(pid) == self._command.name:
                    os.kill(pid, signal.SIGKILL)

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
        self.read = self._stdin.read() if self._stdin is not None else None
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._eof.wait()
        self._pulse.close()
        for transport in (self._stdin, *self._readers):
            if transport is not None:
                transport.close()
        self._gone.set()
        self._on_exit(Exit(None, -code) if code < 0 else Exit(code, None))

    def _drop(self) -> None:
        self._on_drop()
        log.warning("%s: a line of more than %d bytes was dropped", self._command.name, LINE_LIMIT)

    def _tell(self, line: bytes) -> None:
        log.info("%s: stderr: %s", self._command.name, line[:STDERR_LINE].decode(errors="replace"))


class _Lines(asyncio.Protocol):
    """Cuts a stream into lines."""

    def __init__(self, on_line: Callable[[bytes], None], on_eof: Callable[[], None], on_drop: Callable[[], None]) -> None:
        self._on_line, self._on_eof, self._on_drop = on_line, on_eof, on_drop
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def data_received(self, data: bytes) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts, self._size = [], 0
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif line:
                self._on_line(line)
        if rest and not self._skipping:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > LINE_LIMIT:
                self._parts, self._size, self._skipping = [], 0, True
                self._on_drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._parts:
            self._on_line(b"".join(self._parts))
            self._parts = []
        self._on_eof()


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


def _hosted(pid: int) -> str | None:
    """The `MCPWATCH_HOSTED` mark of a process, so that a number used again is never signalled."""
    with suppress(OSError):
        for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if item.startswith(b"MCPWATCH_HOSTED="):
                return item[16:].decode(errors="replace")
    return None
