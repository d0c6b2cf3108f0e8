"""A member that is seen to answer is connected to at once, and calls under way are a sign of life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream import availability, sign_of_life
from mcpwatch.gateway.upstream import upstream as upstream_module
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.link import Ends, LinkFailed
from mcpwatch.gateway.upstream.own_requests import GatewayPeer, Handshake
from mcpwatch.gateway.upstream.upstream import Upstream
from mcpwatch.model.restart import Backoff, RestartPolicy
from tests.gateway.inside import LIMIT, Taken

pytestmark = pytest.mark.anyio
PAUSE = 1000.0
"""Seconds of a pause that no test waits for."""


class Server:
    """A server by URL: it refuses, hangs, or answers; attempts to connect are counted. `mute`: it answers greetings only."""

    def __init__(self) -> None:
        self.does = "refuses"
        self.attempts = 0
        self.tried = asyncio.Condition()
        self.mute = False

    async def reached(self, attempts: int) -> None:
        """Return after this many attempts to connect."""
        async with self.tried:
            await self.tried.wait_for(lambda: self.attempts >= attempts)


class UrlLink:
    """A link to it."""

    pid: int | None = None
    wire = "http"

    def __init__(self, server: Server, ends: Ends) -> None:
        self._server, self._ends = server, ends

    async def open(self) -> None:
        async with self._server.tried:
            self._server.attempts += 1
            self._server.tried.notify_all()
        if self._server.does == "refuses":
            raise LinkFailed("refused")
        if self._server.does == "hangs":
            await asyncio.get_running_loop().create_future()

    def send(self, data: bytes, number: int | None) -> int:
        sent: dict[str, Any] = json.loads(data)
        if number is not None and (sent["method"] == "initialize" or not self._server.mute):
            answer = message.result(b"%d" % number, b'{"protocolVersion":"2025-11-25","capabilities":{}}')
            asyncio.get_running_loop().call_soon(self._ends.on_message, answer, message.peek(answer), None)
        return 1

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def kept(server: Server) -> AsyncGenerator[Upstream]:
    """An upstream to that server whose pauses nobody waits for."""
    hello = Handshake(b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}')
    kept = Upstream("it", lambda ends: UrlLink(server, ends), hello, restart=RestartPolicy(backoff=Backoff(PAUSE, PAUSE, 0)))
    task = asyncio.get_running_loop().create_task(kept.run())
    try:
        with anyio.fail_after(LIMIT):
            yield kept
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def answering() -> AsyncGenerator[tuple[Server, Upstream]]:
    """A server that answers, and an upstream that is ready with it."""
    server = Server()
    server.does = "answers"
    async with kept(server) as it:
        await it.ready()
        yield server, it


async def asked(it: Upstream) -> None:
    """Wait until a question to the server is under way."""
    while not it.mux.in_flight:  # noqa: ASYNC110  it is a matter of turns of the loop
        await asyncio.sleep(0)


async def test_a_nudge_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "READY_WAIT", LIMIT)
    server = Server()
    async with kept(server) as it:
        await server.reached(2)
        while it.phase is not UpstreamPhase.BACKOFF:  # noqa: ASYNC110  it is a matter of turns of the loop
            await asyncio.sleep(0)
        server.does = "answers"
        it.nudge()
        await server.reached(3)
        await it.ready()


async def test_a_nudge_begins_anew_where_an_attempt_to_connect_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "READY_WAIT", LIMIT)
    monkeypatch.setattr(upstream_module, "NUDGE_AGE", 0.0)
    server = Server()
    server.does = "hangs"
    async with kept(server) as it:
        await server.reached(1)
        server.does = "answers"
        it.nudge()
        await it.ready()
        assert server.attempts == 2


async def test_a_nudge_does_not_start_what_an_operator_stopped() -> None:
    async with answering() as (server, it):
        it.hold()
        it.nudge()
        await asyncio.sleep(0.05)
        assert it.phase is UpstreamPhase.HELD
        assert server.attempts == 1


async def test_a_nudge_finds_out_that_an_open_connection_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_of_life, "NUDGE_LIMIT", 0.05)
    async with answering() as (server, it):
        server.mute = True
        it.nudge()
        await server.reached(2)


async def test_a_call_under_way_is_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_of_life, "PING_EVERY", 0.0)
    monkeypatch.setattr(sign_of_life, "TICK", 0.005)
    monkeypatch.setattr(sign_of_life, "PING_LIMIT", 0.02)
    async with answering() as (server, it):
        server.mute = True
        peer, answer = GatewayPeer(), Taken()
        it.mux.attach(peer)
        raw = message.request(1, "tools/call", {"name": "slow"})
        number = it.mux.request(peer, message.peek(raw), raw, answer)
        await asyncio.sleep(0.2)
        assert it.phase is UpstreamPhase.RUNNING
        done = message.result(b"%d" % number, b"{}")
        it.mux.receive(done, message.peek(done))
        assert "result" in await answer.last()
        await server.reached(2)


SIGNS = [message.result(b"1", b"{}"), message.notification("notifications/progress", {"progressToken": 1, "progress": 1})]


@pytest.mark.parametrize("said", SIGNS, ids=["a late answer", "progress"])
async def test_whatever_a_member_says_proves_that_it_lives_also_when_the_ping_of_who_asked_first_ran_out_of_time(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_of_life, "TICK", 0.001)
    async with answering() as (server, it):
        server.mute = True
        first = asyncio.get_running_loop().create_task(it.life.prove(0.01))
        await asyncio.sleep(0)
        second = asyncio.get_running_loop().create_task(it.life.prove(LIMIT))
        with pytest.raises(TimeoutError):
            await first
        while it.mux.in_flight:  # noqa: ASYNC110  the watch ends the ping that is past its bound
            await asyncio.sleep(0.001)
        for _ in range(10):  # the second one hears of it
            await asyncio.sleep(0)
        it.mux.receive(said, message.peek(said))
        async with asyncio.timeout(sign_of_life.AGAIN / 2):
            await second


async def test_a_lost_connection_proves_nothing() -> None:
    async with answering() as (server, it):
        server.mute, server.does = True, "refuses"
        waiting = asyncio.get_running_loop().create_task(it.life.prove(LIMIT))
        await asked(it)
        losing: Any = it
        losing._drop("closed its stream")
        with pytest.raises(UpstreamUnavailable):
            await waiting


async def test_a_quiet_upstream_that_says_anything_while_it_is_asked_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_of_life, "NUDGE_LIMIT", 0.03)
    async with answering() as (server, it):
        server.mute = True
        it.nudge()
        await asked(it)
        said = message.notification("notifications/message", {"level": "info", "data": "busy"})
        it.mux.receive(said, message.peek(said))
        await asyncio.sleep(2 * sign_of_life.NUDGE_LIMIT)
        assert (it.phase, server.attempts) == (UpstreamPhase.RUNNING, 1)
