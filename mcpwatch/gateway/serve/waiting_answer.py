"""A POST of Streamable HTTP that waits for its answer: given as JSON from where it comes in, without a task; else as a stream.

Owns that choice. Must not know members or how messages are handed on.
"""

from __future__ import annotations

import asyncio
import time

from mcpwatch.gateway.session.mcp_request import KEEP_ALIVE, McpRequest
from mcpwatch.gateway.session.session_output import ResponseStream
from mcpwatch.gateway.session.sessions import ClientSessions
from mcpwatch.gateway.session.target import ClientSession


class WaitingAnswer:
    """One POST of a session, which counts as open from now on until it is answered or `close` is called.

    `primed`: the client knows events that only tell an id.
    """

    __slots__ = ("_open", "_primed", "_sessions", "_timer", "request", "response_stream", "session")

    def __init__(
        self, sessions: ClientSessions, request: McpRequest, session: ClientSession, stream: ResponseStream, *, primed: bool
    ) -> None:
        self._sessions, self._primed = sessions, primed
        self.request, self.session, self.response_stream = request, session, stream
        self._timer: asyncio.TimerHandle | None = None
        self._open = True
        session.open += 1

    def wait(self) -> None:
        """Answer as soon as there is something to say: as JSON when that is the answer, alone; as a stream after `KEEP_ALIVE`."""
        if self.response_stream.done or self.response_stream.messages:
            self._settle()
        else:
            self.request.turn.promised = True
            self.response_stream.told = self._settle
            self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._settle)
            self.request.turn.when_lost(self._settle)  # as a stream, it can be taken up again

    def close(self) -> None:
        """It waits no more."""
        if self._open:
            self._open = False
            self.session.open -= 1
            self.session.seen = time.monotonic()

    def drop(self) -> None:
        """It waits no more, and what still comes for it is left."""
        self.response_stream.abandon()
        self.close()

    def _settle(self) -> None:
        stream = self.response_stream
        stream.told = self.request.turn.on_lost = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if stream.done and len(stream.messages) == 1 and self.session.open == 1:
            self.close()  # not after: the answer lets the next request of the connection begin
            self.request.respond(200, stream.messages.pop())
        else:
            self.request.turn.go_on(self._flow())

    async def _flow(self) -> None:
        """Answer as a stream."""
        stream = self.response_stream
        try:
            pipe = self.request.stream()
            messages, stream.messages = stream.messages, []
            stream.begin(pipe, messages, prime=self._primed)
            await self._sessions.hold(self.session, pipe)
            pipe.finish()
        finally:
            self.close()
