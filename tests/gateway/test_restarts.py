"""A hosted server that ends is restarted as its policy says, by the arithmetic that the watchdog uses too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream.child import Exit
from mcpwatch.gateway.upstream.lifecycle import LifecycleEvent, UpstreamPhase
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.own_requests import Handshake
from mcpwatch.gateway.upstream.restart_record import RestartRecord
from mcpwatch.gateway.upstream.upstream import Upstream
from mcpwatch.model.restart import Backoff, Next, RestartPolicy
from tests.gateway.inside import LIMIT

PLAIN = RestartPolicy(intensity=5, period=60, backoff=Backoff(first=0.5, max=4, jitter=0.2), retry=30)


def test_the_first_end_costs_nothing_each_further_one_twice_the_last_and_the_budget_ends_it() -> None:
    record = RestartRecord(PLAIN)
    found = [record.end_of_process(at, at, 1, 0.5) for at in range(6)]
    assert found == [Next("again", pause) for pause in (0, 0.5, 1, 2, 4)] + [Next("parked", 30)]


def test_a_parked_server_gets_one_more_try() -> None:
    record = RestartRecord(PLAIN)
    for at in range(6):
        record.end_of_process(at, None, 1, 0.5)
    record.one_try(36)
    assert record.end_of_process(37, None, 1, 0.5) == Next("parked", 30)


def test_an_end_is_forgotten_after_a_minute_of_service() -> None:
    record = RestartRecord(PLAIN)
    assert [record.end_of_process(at, ready, 1, 0.5).pause for at, ready in ((0, 0), (1, 1), (100, 30))] == [0, 0.5, 0]


def test_a_url_is_tried_for_ever_with_the_same_pauses() -> None:
    record = RestartRecord(PLAIN)
    assert [record.end_of_connection(at, None, 0.5).pause for at in range(9)] == [0, 0.5, 1, 2, 4, 4, 4, 4, 4]
    assert (record.often, record.fruitless) == (True, 9)


def test_what_cannot_be_run_at_all_is_parked_at_once() -> None:
    assert RestartRecord(PLAIN).end_of_process(0, None, None, 0.5, permanent=True) == Next("parked", 30)


def test_chance_moves_a_pause_by_the_jitter_and_a_word_of_an_operator_ends_it() -> None:
    record = RestartRecord(PLAIN)
    record.end_of_process(0, 0, 1, 0.5)
    assert record.end_of_process(0, 0, 1, 0.0).pause == 0.4
    record.forget()
    assert record.end_of_process(0, 0, 1, 0.0).pause == 0


@pytest.mark.parametrize(
    ("policy", "code", "step"),
    [
        (RestartPolicy("never"), 1, "parked"),
        (RestartPolicy("never"), 0, "parked"),
        (RestartPolicy("on-failure"), 0, "finished"),
        (RestartPolicy("on-failure"), 1, "again"),
        (RestartPolicy("on-failure"), None, "again"),
        (RestartPolicy("always"), 0, "again"),
        (RestartPolicy(fatal_exit_codes=(3,)), 3, "parked"),
    ],
)
def test_condition_and_fatal_exit_codes_decide_by_the_exit_code(policy: RestartPolicy, code: int | None, step: str) -> None:
    found = RestartRecord(policy).end_of_process(0, 0, code, 0.5)
    assert found.step == step
    assert found.pause is None or step == "again"


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_is_missing_is_looked_for_slowly_and_is_fatal_only_where_the_configuration_says_so(code: int) -> None:
    """Its interpreter may be replaced at this moment, or its disk mounted late."""
    record = RestartRecord(RestartPolicy())
    for now in (0, 60, 120):
        assert record.end_of_process(now, None, code, 0.5) == Next("parked", 60)
        record.one_try(now + 60)
    assert RestartRecord(RestartPolicy(retry=None)).end_of_process(0, None, code, 0.5) == Next("parked")
    assert RestartRecord(RestartPolicy(fatal_exit_codes=(78, code))).end_of_process(0, None, code, 0.5) == Next("parked")
    assert RestartRecord(RestartPolicy("never")).end_of_process(0, None, code, 0.5) == Next("parked")
    assert RestartRecord(RestartPolicy()).end_of_process(0, None, 78, 0.5) == Next("parked")


class HostedLink:
    """A process that answers its greeting and ends when it is told to."""

    wire = "stdio"

    def __init__(self, ends: Ends, number: int) -> None:
        self.pid: int | None = number
        self._ends = ends

    async def open(self) -> None:
        """It runs."""

    def send(self, data: bytes, number: int | None) -> int:
        sent: dict[str, Any] = json.loads(data)
        if number is not None and sent["method"] == "initialize":
            answer = message.result(b"%d" % number, b'{"protocolVersion":"2025-11-25","capabilities":{}}')
            asyncio.get_running_loop().call_soon(self._ends.on_message, answer, message.peek(answer), None)
        return 1

    def end(self, code: int) -> None:
        self._ends.on_lost(f"exited with code {code}", Exit(code, None), None)

    async def close(self) -> None:
        """It has ended."""


class Hosted:
    """An upstream with its processes, and what is told of it."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.links: list[HostedLink] = []
        self._told = asyncio.Condition()
        hello = Handshake(b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}')
        self.upstream = Upstream("it", self._link, hello, self._tell, restart=policy)
        self._connected = 0

    def _link(self, ends: Ends) -> HostedLink:
        self.links.append(HostedLink(ends, len(self.links) + 1))
        return self.links[-1]

    def _tell(self, event: LifecycleEvent) -> None:
        self._connected += event.name == "connected"

    async def phase(self, wanted: UpstreamPhase, starts: int) -> None:
        """Return when it is in this phase, after so many starts."""
        with anyio.fail_after(LIMIT):
            while (self.upstream.phase, len(self.links)) != (wanted, starts):  # noqa: ASYNC110  a matter of turns of the loop
                await asyncio.sleep(0)


@asynccontextmanager
async def hosted(policy: RestartPolicy) -> AsyncGenerator[Hosted]:
    """It runs."""
    found = Hosted(policy)
    task = asyncio.get_running_loop().create_task(found.upstream.run())
    try:
        await found.phase(UpstreamPhase.RUNNING, 1)
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.anyio
async def test_a_server_that_must_never_be_restarted_is_not_until_it_is_started_by_hand() -> None:
    async with hosted(RestartPolicy("never")) as it:
        it.links[0].end(1)
        await it.phase(UpstreamPhase.FAILED, 1)
        assert "exited with code 1" in str(it.upstream.down())
        it.upstream.nudge()
        await asyncio.sleep(0)
        assert (it.upstream.phase, len(it.links)) == (UpstreamPhase.FAILED, 1)
        it.upstream.release()
        await it.phase(UpstreamPhase.RUNNING, 2)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("policy", "phase"),
    [
        (RestartPolicy("never"), UpstreamPhase.FAILED),
        (RestartPolicy(intensity=0, retry=1000), UpstreamPhase.FAILED),
        (RestartPolicy(backoff=Backoff(1000, 1000, 0)), UpstreamPhase.BACKOFF),
        (RestartPolicy("on-failure"), UpstreamPhase.ENDED),
    ],
)
async def test_a_server_that_is_stopped_while_it_rests_starts_at_once_when_it_is_started(
    policy: RestartPolicy, phase: UpstreamPhase
) -> None:
    code = 0 if phase is UpstreamPhase.ENDED else 1
    async with hosted(policy) as it:
        it.links[0].end(code)
        if phase is UpstreamPhase.BACKOFF:  # the first end costs nothing
            await it.phase(UpstreamPhase.RUNNING, 2)
            it.links[1].end(code)
        starts = len(it.links)
        await it.phase(phase, starts)
        it.upstream.hold()
        await it.phase(UpstreamPhase.HELD, starts)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (it.upstream.phase, len(it.links)) == (UpstreamPhase.HELD, starts)
        it.upstream.release()
        await it.phase(UpstreamPhase.RUNNING, starts + 1)


@pytest.mark.anyio
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("policy", "code"), [(RestartPolicy("never"), 1), (RestartPolicy("on-failure"), 0)])
async def test_a_server_that_is_started_while_it_ends_is_not_left_to_its_policy(
    policy: RestartPolicy, code: int, held: bool
) -> None:
    async with hosted(policy) as it:
        it.links[0].end(code)
        if held:
            it.upstream.hold()
        it.upstream.release()
        await it.phase(UpstreamPhase.RUNNING, 2)


@pytest.mark.anyio
async def test_a_planned_restart_is_no_end_that_the_policy_judges() -> None:
    async with hosted(RestartPolicy("never")) as it:
        it.upstream.restart()
        await it.phase(UpstreamPhase.RUNNING, 2)


@pytest.mark.anyio
async def test_a_server_that_ended_well_stays_ended() -> None:
    async with hosted(RestartPolicy("on-failure")) as it:
        it.links[0].end(1)
        await it.phase(UpstreamPhase.RUNNING, 2)
        it.links[1].end(0)
        await it.phase(UpstreamPhase.ENDED, 2)


@pytest.mark.anyio
async def test_the_budget_parks_a_hosted_server_and_one_more_try_follows() -> None:
    policy = RestartPolicy(intensity=1, backoff=Backoff(first=0, max=0), retry=0.01)
    async with hosted(policy) as it:
        it.links[0].end(1)
        await it.phase(UpstreamPhase.RUNNING, 2)
        it.links[1].end(1)
        await it.phase(UpstreamPhase.FAILED, 2)
        await it.phase(UpstreamPhase.RUNNING, 3)
        it.links[2].end(1)
        await it.phase(UpstreamPhase.FAILED, 3)
