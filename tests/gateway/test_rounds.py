"""A request of a handshake client on a stateless member that asks first, without HTTP or processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.session import input_required
from mcpwatch.gateway.session.session import Session
from tests.gateway.inside import Inside, Taken, inside

pytestmark = pytest.mark.anyio


async def asked(member: Inside) -> tuple[Session, Taken]:
    """A call whose client is asked for its roots."""
    session = Session(member, "ann")
    session.use(member.main)
    session.capabilities = frozenset({"roots"})
    data = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x"}}'
    sink = Taken()
    await session.take(data, message.peek(data), sink)
    wire = member.wires[0]
    required: dict[str, Any] = {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list", "params": {}}}}
    wire.say({"id": wire.last("tools/call")["id"], "result": required})
    assert sink.said[0]["method"] == "roots/list"
    return session, sink


async def test_a_question_that_the_client_leaves_unanswered_ends_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_required, "WAIT_LIMIT", 0.05)
    async with inside("stateless") as member:
        session, sink = await asked(member)
        assert "no answer" in (await sink.last())["error"]["message"]
        withdrawn = {"requestId": sink.said[0]["id"]}
        assert [said["params"] for said in sink.said if said.get("method") == "notifications/cancelled"] == [withdrawn]
        await session.close()


async def test_an_answer_in_time_begins_the_next_round() -> None:
    async with inside("stateless") as member:
        session, sink = await asked(member)
        answer = json.dumps({"jsonrpc": "2.0", "id": sink.said[0]["id"], "result": {"roots": []}}).encode()
        assert session.answer(answer, message.peek(answer))
        wire = member.wires[0]
        again = wire.last("tools/call")
        assert again["params"]["inputResponses"] == {"a": {"roots": []}}
        wire.say({"id": again["id"], "result": {"said": "hello"}})
        assert (await sink.last())["result"] == {"said": "hello"}
        await session.close()
