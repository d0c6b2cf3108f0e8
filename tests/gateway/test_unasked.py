"""What a member answers that nobody asked is told, and nothing else is: late answers and second ones are no fault of its ids."""

from __future__ import annotations

import json
import logging
import random

import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.own_requests import GatewayPeer
from mcpwatch.gateway.upstream.pollution import SHOWN
from mcpwatch.proxies.gateway import Gateway
from tests.gateway.inside import Taken

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _reply(mux: Mux, number: object) -> None:
    data = json.dumps({"jsonrpc": "2.0", "id": number, "result": {}}).encode()
    mux.receive(data, message.peek(data))


@pytest.mark.parametrize("seed", range(40))
async def test_an_id_that_was_never_sent_is_told_with_it_and_read_from_the_log(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance, sent, told = random.Random(seed), list[int](), 0

    def send(data: bytes, number: int | None) -> int:
        if number is not None:
            sent.append(number)
        return 1

    mux, peer = Mux("h", send, 60.0, Counts()), GatewayPeer()
    mux.attach(peer)
    with caplog.at_level(logging.WARNING, "mcpwatch.gateway"):
        for turn in range(chance.randint(1, 12)):
            raw = json.dumps({"jsonrpc": "2.0", "id": turn, "method": "tools/list"}).encode()
            mux.request(peer, message.peek(raw), raw, Taken())
            match chance.choice(("well", "twice", "late", "wrong")):
                case "well":
                    _reply(mux, sent[-1])
                case "twice":
                    _reply(mux, sent[-1])
                    _reply(mux, chance.choice([sent[-1], str(sent[-1]), float(sent[-1])]))
                case "late":
                    mux.detach(peer)
                    _reply(mux, chance.choice(sent))
                    mux.attach(peer)
                case _:
                    _reply(mux, chance.choice([99999, turn, "abc", -1, None, sent[-1] + 1]))
                    told += 1
    hints = [Gateway().hint(f"2026-11-30 WARNING {record.getMessage()}") for record in caplog.records]
    assert [(hint.member, hint.meaning) for hint in hints if hint] == [("h", "unasked")] * min(told, SHOWN)
    assert len(hints) == min(told, SHOWN)
