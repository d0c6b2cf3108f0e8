"""Seats of the stateless wire's clients end: whatever the client and the member do, no upstream stays behind."""

from __future__ import annotations

import json

import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream import interactive_pool
from mcpwatch.gateway.upstream import member as members
from mcpwatch.gateway.upstream.interactive_pool import ClientIdentity, InteractivePool, InteractiveRequest
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from tests.gateway.inside import Inside, Taken, Wire, inside, until

pytestmark = pytest.mark.anyio
ABLE = '{"sampling": {}}'
ANN = ClientIdentity("ann", ABLE, '{"name":"ann"}')
BOB = ClientIdentity("bob", ABLE, '{"name":"ann"}')


async def serve(served: InteractivePool, who: ClientIdentity, **params: object) -> tuple[InteractiveRequest | None, Taken]:
    """A tool call of this client."""
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"} | params}).encode()
    sink = Taken()
    return await served.serve(who, message.peek(data), data, sink), sink


async def asked(member: Inside) -> tuple[Wire, str]:
    """A visit whose client was asked something: the seat's link, and the state to come back with."""
    _, sink = await serve(member.seats, ANN)
    wire = member.wires[-1]
    wire.say({"id": 7, "method": "sampling/createMessage", "params": {}})
    return wire, (await sink.last())["result"]["requestState"]


async def test_a_seat_ends_when_the_member_answered_and_the_client_never_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive_pool, "WAIT_LIMIT", 0.05)
    async with inside() as member:
        wire, _ = await asked(member)
        wire.say({"id": wire.last("tools/call")["id"], "result": {}})
        await until(wire.closed)


async def test_a_state_in_the_hands_of_another_token_changes_nothing_for_its_owner() -> None:
    async with inside() as member:
        wire, state = await asked(member)
        visit, _ = await serve(member.seats, BOB, requestState=state)
        assert visit is None
        wire.say({"id": wire.last("tools/call")["id"], "result": {"said": "hello"}})
        _, sink = await serve(member.seats, ANN, requestState=state)
        assert (await sink.last())["result"] == {"said": "hello"}


async def answered(member: Inside, who: ClientIdentity) -> Wire:
    """The link of a seat that served this client and is free now."""
    _, sink = await serve(member.seats, who)
    wire = next(wire for wire in reversed(member.wires) if wire.sent[-1].get("method") == "tools/call")
    wire.say({"id": wire.last("tools/call")["id"], "result": {}})
    await sink.last()
    return wire


async def test_a_free_seat_serves_the_next_request_of_the_same_client_only() -> None:
    async with inside() as member:
        assert await answered(member, ANN) is await answered(member, ANN)
        await answered(member, BOB)
        assert len(member.wires) == 3


async def test_the_seat_that_was_free_longest_makes_room_for_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "OWN_LIMIT", 2)
    async with inside() as member:
        oldest = await answered(member, ANN)
        busy, _ = await serve(member.seats, BOB)
        assert busy is not None
        await serve(member.seats, ClientIdentity("bob", ABLE, '{"name":"carl"}'))
        await until(oldest.closed)
        with pytest.raises(UpstreamUnavailable, match="already"):
            await serve(member.seats, ANN)
        assert not member.wires[2].closed.is_set()


async def test_a_client_that_calls_itself_ever_otherwise_and_leaves_is_not_remembered() -> None:
    async with inside() as member:
        for number in range(5):
            visit, _ = await serve(member.seats, ClientIdentity("ann", ABLE, f'{{"name":"{number}"}}'))
            assert visit is not None
            visit.left()
            await until(member.wires[-1].closed)
        assert not member.seats._free  # pyright: ignore[reportPrivateUsage]
