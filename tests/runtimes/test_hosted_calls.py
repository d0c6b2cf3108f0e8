"""What a gateway tells of waiting clients, asked once for all members; nothing of one that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.member import ClientCalls
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.runtimes.admin import Reply
from mcpwatch.runtimes.hosted_calls import KEPT, GatewayCalls


class Gateway:
    """Answers as it is told to, on a clock of its own."""

    def __init__(self) -> None:
        self.at, self.asked, self.fault = 100.0, 0, ""
        self.waits: dict[str, float | None] = {}

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(0.0)

    async def request(self, method: str, path: str) -> Reply:
        assert (method, path) == ("GET", "/members")
        self.asked += 1
        if self.fault == "away":
            raise RuntimeFailed("away")
        if self.fault == "stopped":
            await asyncio.Event().wait()
        return Reply(200, {"members": [{"name": name, "oldest_call": waits} for name, waits in self.waits.items()]})

    def events(self) -> AsyncIterator[tuple[str, Any]]:
        raise AssertionError


def test_one_question_tells_of_all_members_and_counts_for_a_moment() -> None:
    gateway = Gateway()
    gateway.waits = {"git": 30.0, "time": None}
    calls = GatewayCalls(gateway, gateway)
    assert [calls.of(name).waiting_since for name in ("git", "time", "other")] == [70.0, None, None]
    assert gateway.asked == 1
    gateway.at += KEPT
    gateway.waits = {"time": 1.0}
    assert [calls.of(name).waiting_since for name in ("git", "time")] == [None, gateway.at - 1.0]
    assert gateway.asked == 2


def test_a_gateway_that_does_not_answer_is_waited_for_once_and_tells_nothing() -> None:
    gateway = Gateway()
    calls = GatewayCalls(gateway, gateway, limit=0.01)
    for fault in ("stopped", "away"):
        gateway.at, gateway.fault = gateway.at + KEPT, fault
        assert [calls.of(f"m{number}") for number in range(50)] == [ClientCalls()] * 50
    assert gateway.asked == 2
