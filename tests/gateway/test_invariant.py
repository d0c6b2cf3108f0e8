"""Two hostile clients and one hostile member share a link with an honest client, who must never notice. ADR 0078.

For any bytes that a client sends, the member sees only ids that the gateway chose; an answer reaches only the session whose call it
answers; what a client says of calls and questions of others reaches no member.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.member import ServedMember
from tests.gateway.hostile import Forger, readings
from tests.gateway.inside import served
from tests.gateway.program import HELLO, Sse, call, request, sse

pytestmark = pytest.mark.anyio
LIMIT = 60.0
ROUNDS = 25
"""Calls of the honest client in one run; each hostile client sends three messages meanwhile."""


class HostileWire:
    """A member that answers every call with the name of its caller, and in between with everything that might reach another one."""

    pid: int | None = None
    wire = "stdio"

    def __init__(self, ends: Ends, seed: int) -> None:
        self._ends, self._random = ends, random.Random(seed)
        self.seen: dict[int, str] = {}
        self.leaked: list[int] = []
        self.asked: dict[int, str] = {}
        self.faults: list[str] = []
        self.polluted = 0

    async def open(self) -> None:
        """Open at once."""

    async def close(self) -> None:
        """Nothing to close."""

    def send(self, data: bytes, number: int | None) -> int:
        kinds = list(readings(data))
        views = [(it.get("id"), it.get("method"), it.get("params"), it.get("result")) for it in kinds]
        if any(view != views[0] for view in views):
            self.faults.append(f"read differently: {data!r}")
        self._take(kinds[0])
        return 1

    def _take(self, sent: dict[str, Any]) -> None:
        number, method = sent.get("id"), sent.get("method")
        params: dict[str, Any] = sent.get("params") or {}
        if method is None:
            asked = self.asked.get(number) if isinstance(number, int) else None
            if asked is None or sent.get("result", {}).get("by", asked) != asked:
                self.faults.append(f"an answer of another client: {sent}")
        elif number is not None:
            self._request(number, method, params)
        elif method == "notifications/cancelled" and self.seen.get(params["requestId"]) in {None, "honest"}:
            self.faults.append(f"a call of another client is cancelled: {sent}")
        elif method == "notifications/progress":
            self.faults.append(f"progress of a question that was not asked: {sent}")

    def _request(self, number: object, method: str, params: dict[str, Any]) -> None:
        if not isinstance(number, int) or number in self.seen or number < 1_000_000:
            self.faults.append(f"an id that the gateway did not choose: {number}")
            return
        by = str(params.get("arguments", {}).get("by", ""))
        self.seen[number] = by
        self.leaked.append(number)
        token = params.get("_meta", {}).get("progressToken", number)
        if token != number:
            self.faults.append(f"a progress token that the gateway did not choose: {token}")
        if method == "initialize":
            self._say({"id": number, "result": {"protocolVersion": HELLO["protocolVersion"], "capabilities": {"tools": {}}}})
        else:
            asyncio.get_running_loop().call_soon(self._answer, number, by)

    def _answer(self, number: int, by: str) -> None:
        for _ in range(self._random.randrange(3)):
            self._ends_take(self._forged(number, by))
        self._say({"id": number, "result": {"for": by}})

    def _forged(self, number: int, by: str) -> bytes:
        """What is no answer to any call, or to two of them."""
        other = self._random.choice(self.leaked)
        result = f'"result":{{"for":"{by}"}}'
        return self._random.choice(
            (
                f'{{"jsonrpc":"2.0","id":{number},"id":{other},{result}}}',
                f'{{"jsonrpc":"2.0","ID":{other},{result}}}',
                f'{{"jsonrpc":"2.0","id":{self._random.randrange(1, 10**6)},{result}}}',
                f'{{"jsonrpc":"2.0","id":[{other}],{result}}}',
                f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{other + 1},"progress":1}}}}',
                f'{{"jsonrpc":"2.0","id":{"9" * 4301},{result}}}',
                '{"jsonrpc":"2.0","method":"\\ud800","METHOD":"x"}',
                "[" * 100_000,
                "noise \udcff",
            )
        ).encode(errors="surrogateescape")

    def _say(self, said: dict[str, Any]) -> None:
        self._ends_take(json.dumps({"jsonrpc": "2.0"} | said).encode())

    def _ends_take(self, data: bytes) -> None:
        if not self._ends.take(data, None):
            self.polluted += 1
            self._ends.on_pollution(data)


class HostileMember(ServedMember):
    """A member on that wire."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.wires: list[HostileWire] = []
        super().__init__(ServerSettings("it", command="true"), ServingLimits(), None, lambda _: None)

    def _link(self, ends: Ends) -> HostileWire:
        self.wires.append(HostileWire(ends, self.seed))
        return self.wires[-1]


async def read_all(client: Sse, into: list[Any]) -> None:
    """Keep everything that a session is sent."""
    while True:
        into.append(await client.next())


def callers(heard: list[Any]) -> set[str]:
    """Whose calls the answers are for that a session was sent."""
    items: list[dict[str, Any]] = []
    for message in heard:
        items += message if isinstance(message, list) else [message]  # a batch is answered by one
    return {item["result"]["for"] for item in items if "for" in item.get("result", {})}


@pytest.mark.sample(1)
@pytest.mark.parametrize("seed", range(3))
async def test_an_honest_client_never_notices_hostile_ones_nor_a_hostile_member(seed: int) -> None:
    with anyio.fail_after(LIMIT):
        member = HostileMember(seed)
        async with served(member) as url, AsyncExitStack() as stack, anyio.create_task_group() as group:
            wire = member.wires[0]
            honest = await stack.enter_async_context(sse(f"{url}/it/sse"))
            forgers = [Forger(100 * seed + number, f"hostile-{number}", wire.leaked) for number in range(2)]
            hostile = [await stack.enter_async_context(sse(f"{url}/it/sse")) for _ in forgers]
            heard: list[list[Any]] = [[], []]
            for client, version in ((honest, "2025-11-25"), *zip(hostile, ("2025-11-25", "2025-03-26"), strict=True)):
                await client.ask(request(0, "initialize", HELLO | {"protocolVersion": version}))
            for client, into in zip(hostile, heard, strict=True):
                group.start_soon(read_all, client, into)
            for turn in range(ROUNDS):
                for client, forger in zip(hostile, forgers, strict=True):
                    for _ in range(3):
                        assert (await client.post(forger.next())).status_code in {202, 400}
                answer = await honest.ask(call(turn, "echo", by="honest"))
                assert answer == {"jsonrpc": "2.0", "id": turn, "result": {"for": "honest"}}
            assert wire.faults == []
            assert wire.polluted > ROUNDS / 4
            assert not any(forger.chosen & wire.seen.keys() for forger in forgers)
            names = {"honest", *(forger.name for forger in forgers)}
            for forger, into in zip(forgers, heard, strict=True):
                assert callers(into) & names <= {forger.name}
            group.cancel_scope.cancel()
