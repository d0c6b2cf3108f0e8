"""A server that waits for a person to log in is given the time for that; any other start has its limit."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import pytest

from mcpwatch.gateway.upstream import patience
from mcpwatch.gateway.upstream.patience import never, patient
from tests.gateway.program import gateway
from tests.watchdog.test_login import ASKS, OTHER

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("times", [0, 1, 5])
async def test_the_limit_is_put_off_for_as_long_as_somebody_is_waited_for(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "AGAIN", 0.001)
    asked: list[int] = []

    def waits() -> bool:
        asked.append(1)
        return len(asked) <= times

    with pytest.raises(TimeoutError):
        async with patient(0.001, waits):
            await asyncio.Event().wait()
    assert len(asked) == times + 1


async def test_what_is_done_in_time_is_left_alone() -> None:
    before = asyncio.all_tasks()
    async with patient(30.0, never):
        pass
    assert asyncio.all_tasks() == before


@pytest.mark.slow
def test_a_hosted_server_is_not_ended_by_the_limit_of_its_start_while_it_waits_for_a_login() -> None:
    code = "import sys, time; sys.stderr.write(sys.argv[1] + chr(10)); sys.stderr.flush(); time.sleep(600)"
    says = dict(enumerate((*ASKS[:3], OTHER[1])))
    servers: dict[str, Any] = {f"s{at}": {"command": sys.executable, "args": ["-c", code, line]} for at, line in says.items()}
    with gateway({"servers": servers, "limits": {"start": 2}}) as running:
        first = {name: member["generation"] for name, member in running.members().items()}
        _again(running, "s3")
        now = {name: member["generation"] for name, member in running.members().items()}
        assert {name for name in now if now[name] != first[name]} == {"s3"}, json.dumps(running.members())


def _again(running: Any, name: str) -> None:
    """Return when another start of it was begun."""
    first = running.members()[name]["generation"]
    while running.members()[name]["generation"] == first:
        time.sleep(0.02)
