"""An upstream that wants to do harm: what it asks without end is bounded, and no odd answer to a greeting ends its keeper."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream import questions
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.mux import Mux
from tests.gateway.inside import Taken
from tests.gateway.test_nudge import Server, UrlLink, kept

pytestmark = pytest.mark.anyio


class Session:
    """A client session that counts what it is sent."""

    id = "s"
    capabilities = frozenset({"sampling"})
    attended = True
    checking = False

    def __init__(self) -> None:
        self.pushed = 0

    def push(self, data: bytes) -> None:
        self.pushed += 1


def asking(number: int, size: int = 0) -> bytes:
    asked = {"jsonrpc": "2.0", "id": number, "method": "sampling/createMessage", "params": {"x": "y" * size}}
    return json.dumps(asked).encode()


def calling(mux: Mux, session: Session) -> None:
    raw = message.request(1, "tools/call", {"name": "slow"})
    mux.attach(session)
    mux.request(session, message.peek(raw), raw, Taken())


async def test_only_so_many_questions_wait_for_a_client() -> None:
    sent: list[bytes] = []
    mux = Mux("m", lambda data, _: bool(sent.append(data)) + 1, 60, Counts())
    session = Session()
    calling(mux, session)
    sent.clear()
    for number in range(questions.OPEN + 100):
        data = asking(number)
        mux.receive(data, message.peek(data))
    assert len(sent) == 100
    assert all(b"questions to answer already" in data for data in sent)


async def test_a_question_that_its_member_cancelled_waits_no_more() -> None:
    sent: list[bytes] = []
    mux = Mux("m", lambda data, _: bool(sent.append(data)) + 1, 60, Counts())
    session = Session()
    calling(mux, session)
    sent.clear()
    for number in range(questions.OPEN + 100):
        for data in (asking(number), message.notification("notifications/cancelled", {"requestId": number})):
            mux.receive(data, message.peek(data))
    assert sent == []


@pytest.mark.parametrize(("size", "kept_most"), [(0, questions.HELD), (questions.HELD_BYTES // 4, 4)])
async def test_only_so_many_questions_wait_for_their_cause(size: int, kept_most: int) -> None:
    sent: list[bytes] = []
    mux = Mux("m", lambda data, _: bool(sent.append(data)) + 1, 60, Counts())
    for session in (Session(), Session()):
        calling(mux, session)
    sent.clear()
    for number in range(kept_most + 100):
        data = asking(number, size)
        mux.receive(data, message.peek(data))
    assert len(sent) >= 100


ODD: list[Any] = [
    {"result": 5}, {"result": None}, {"result": []}, {"error": "no"}, {"error": None}, {"error": {"message": {"a": 1}}}, {},
    {"result": {"protocolVersion": ["x"], "capabilities": 3}},
]  # fmt: skip


class OddLink(UrlLink):
    """A link to a server that answers its greeting oddly."""

    odd: Any = None

    def send(self, data: bytes, number: int | None) -> int:
        if number is not None:
            answer = json.dumps({"jsonrpc": "2.0", "id": number} | self.odd).encode()
            self._ends.on_message(answer, message.peek(answer), None)
        return 1


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_no_odd_answer_to_the_greeting_ends_who_keeps_the_member(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gateway.test_nudge.UrlLink", OddLink)
    monkeypatch.setattr(OddLink, "odd", odd)
    server = Server()
    server.does = "answers"
    async with kept(server) as it:
        await server.reached(1)
        while it.phase is UpstreamPhase.STARTING:  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.001)
        it.nudge()
        if it.phase is not UpstreamPhase.RUNNING:
            await server.reached(2)
