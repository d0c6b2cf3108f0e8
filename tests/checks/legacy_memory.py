"""A legacy SSE server in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import LegacyWire
from mcpwatch.model.probe import Target
from tests.checks.memory import HELLO, SSE, Answer, Asked, Network, event, play, result

TARGET = Target("http://h/time/sse")


class Server:
    """A legacy server; `answers` has what it does for a method instead of answering on the stream with 202."""

    def __init__(
        self, first: bytes = b"event: endpoint\ndata: /time/message?sessionId=1\n\n", headers: dict[str, str] = SSE
    ) -> None:
        self.stream = Answer(200, headers, [first] if first else [], open=True)
        self.answers: dict[str, Callable[[Asked], Answer]] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self.stream
        if asked.rpc in self.answers:
            return self.answers[asked.rpc](asked)
        if "id" in asked.body and asked.rpc:
            self.say(result(asked, **(HELLO if asked.rpc == "initialize" else {})))
        return Answer(202, pieces=[b"Accepted"])

    def say(self, body: object, kind: str = "message") -> Answer:
        self.stream.say(event(body, kind))
        return Answer(202)

    def end(self) -> None:
        self.stream.open = False
        self.stream.more.set()


def failure_of(server: Server, method: str = "", target: Target = TARGET) -> ProbeFailure:
    """How opening, or the first call of `method`, fails."""
    found: list[ProbeFailure] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = LegacyWire(caller)
        if method:
            await wire.open()
        with pytest.raises(ProbeFailure) as caught:
            await (wire.call(method, {}) if method else wire.open())
        found.append(caught.value)

    play(server, scene, target)
    return found[0]
