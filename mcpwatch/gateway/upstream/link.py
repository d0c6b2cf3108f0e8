"""The one shape of everything that carries messages to an upstream, and the stdio kind of it.

Owns the `Link` protocol and `StdioLink`. Must not know sessions, restarts or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import UNSET

from mcpwatch.gateway.protocol import batch, message, reading
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.upstream.child import Child, Exit
from mcpwatch.gateway.upstream.spawn import Command, SpawnFailed

log = logging.getLogger("mcpwatch.gateway")


class LinkFailed(Exception):
    """The upstream cannot be reached; the text says why. `permanent`: trying again soon cannot help."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a link puts what comes: messages (with the request whose stream they came on, if known), and its end.

    `on_dropped` gets the first and last bytes of a text that was too long. `batched` says whether the member may write several
    messages as one array.

    The end comes with how the process ended, if there was one, and how far into the stream of `send` it had read, if known.
    """

    on_message: Callable[[bytes, Envelope, int | None], None]
    on_lost: Callable[[str, Exit | None, int | None], None]
    on_pollution: Callable[[bytes], None]
    on_dropped: Callable[[bytes, bytes], None]
    batched: Callable[[], bool]
    on_suspended: Callable[[int, int], None] = lambda _number, _retry: None
    """The stream of a request ended before its answer, and will be taken up again after so many milliseconds."""

    def take(self, data: bytes, related: int | None) -> bool:
        """Hand on one text from the member: a message, or a batch of them. False when it is neither.

        Whatever a member writes, it ends nobody's reader: what breaks the handling of one text is told and counted as no message.
        """
        try:
            envelope = reading.of_member(data)
        except message.Malformed:
            return self._take_batch(data, related)
        if envelope.id is UNSET and envelope.method is UNSET:
            return False
        try:
            self.on_message(message.one_line(data), envelope, related)
        except Exception:
            log.exception("a message of a member could not be handled")
            return False
        return True

    def _take_batch(self, data: bytes, related: int | None) -> bool:
        if not batch.is_one(data):
            return False
        try:
            found = list(batch.messages(data))
        except message.Malformed:
            return False
        if len(found) > 1 and not self.batched():
            return False
        for item, _ in found:
            self.take(item, related)
        return bool(found)


class Link(Protocol):
    """A way to one upstream."""

    @property
    def pid(self) -> int | None:
        """The process behind it, where it is ours."""
        ...

    @property
    def wire(self) -> str:
        """The wire in use: stdio, sse, http or stateless."""
        ...

    async def open(self) -> None:
        """Connect or spawn. Raises `LinkFailed`."""
        ...

    def send(self, data: bytes, number: int | None) -> int:
        """Send one message; `number` is its id when it is a request.

        Returns where it ends in the stream of everything sent (bytes; 1 where the wire is no stream), 0 when it cannot be taken.
        """
        ...

    async def close(self) -> None:
        """Close it and everything behind it that is ours. `on_lost` is not called afterwards."""
        ...


async def before(lost: asyncio.Future[str], opening: Coroutine[Any, Any, None]) -> None:
    """Open a link unless it is lost first. Raises `LinkFailed`."""
    task = asyncio.get_running_loop().create_task(opening)
    try:
        await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise LinkFailed(lost.result())
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    await task


class StdioLink:
    """A stdio server that we run."""

    wire = "stdio"

    def __init__(self, command: Command, ends: Ends) -> None:
        self._command = command
        self._ends = ends
        self._child = Child(command, self._line, self._exited, ends.on_dropped, self._muted)
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The process id of the child."""
        return self._child.pid or None

    async def open(self) -> None:
        """Run the command. Raises `LinkFailed`."""
        try:
            await self._child.start()
        except SpawnFailed as error:
            raise LinkFailed(str(error), permanent=True) from None

    def send(self, data: bytes, number: int | None) -> int:  # noqa: ARG002
        """Write one line."""
        return self._child.write(data)

    async def close(self) -> None:
        """End the child and its tree."""
        self._closing = True
        await self._child.stop()

    def _line(self, line: bytes) -> None:
        if not self._ends.take(line, None):
            self._ends.on_pollution(line)

    def _muted(self) -> None:
        if not self._closing:
            self._ends.on_lost("closed its stdout while it runs", None, None)

    def _exited(self, exit_: Exit) -> None:
        if not self._closing:
            self._ends.on_lost(str(exit_), exit_, self._child.read)
