"""Whatever a stdio server writes or does with its stdout, its reader lives on and no call waits for nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream import child, pollution
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.gateway.upstream.own_requests import GatewayPeer
from tests.gateway.inside import LIMIT, Taken
from tests.gateway.program import TINY
from tests.gateway.program import call as tool_call

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def tiny() -> AsyncGenerator[ServedMember]:
    """The tiny server as a member in this process."""
    with anyio.fail_after(LIMIT):
        member = ServedMember(ServerSettings("tiny", sys.executable, tuple(TINY["args"])), ServingLimits(), None, lambda _: None)
        try:
            await member.main.ready()
            yield member
        finally:
            await member.stop()


def ask(member: ServedMember, peer: GatewayPeer, number: int, tool: str, **arguments: Any) -> Taken:
    """A call of a session; where its answer comes."""
    answer = Taken()
    raw = json.dumps(tool_call(number, tool, **arguments)).encode()
    member.main.mux.attach(peer)
    assert member.main.mux.request(peer, message.peek(raw), raw, answer)
    return answer


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("line", "times"),
    [
        (b'{"jsonrpc":"2.0","method":"\xff"}', 1),
        (b'{"jsonrpc":"2.0","id":1,"result":"\xff\xfe"}', 1),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"x"}', 1),
        (b"[", 100_000),
        (b'{"a":', 100_000),
        (b"9", 5000),
    ],
)
async def test_a_bad_line_is_counted_and_the_server_goes_on(line: bytes, times: int) -> None:
    async with tiny() as member:
        peer = GatewayPeer()
        before = member.main.generation
        assert "result" in await ask(member, peer, 1, "write", hex=line.hex(), times=times).last()
        assert "result" in await ask(member, peer, 2, "echo", word="on").last()
        assert (member.counts.polluted, member.main.generation) == (1, before)


@pytest.mark.sample
@pytest.mark.parametrize("member_id", [b"9" * 4301, b"[1]", b'"' + b"7" * 5000 + b'"', b"-1", b"1e400"])
async def test_an_answer_to_nobody_is_no_end_of_the_reader(member_id: bytes) -> None:
    async with tiny() as member:
        line = b'{"jsonrpc":"2.0","id":%b,"result":{}}' % member_id
        assert "result" in await ask(member, GatewayPeer(), 1, "write", hex=line.hex()).last()
        assert member.main.phase is UpstreamPhase.RUNNING


async def test_a_server_that_closes_its_stdout_and_lives_is_noticed_and_its_calls_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "STDOUT_GRACE", 0.05)
    monkeypatch.setattr(child, "EOF_GRACE", 0.05)
    async with tiny() as member:
        answer = await ask(member, GatewayPeer(), 1, "close_stdout").last()
        assert answer["error"]["data"]["reason"] == "closed its stdout while it runs"
        await member.main.renewed(1)
        assert "result" in await ask(member, GatewayPeer(), 2, "echo").last()


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_call_whose_answer_is_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    monkeypatch.setattr(child, "LINE_LIMIT", 100_000)
    async with tiny() as member:
        peer = GatewayPeer()
        others = [ask(member, peer, 10 + number, "sleep", seconds=0.5) for number in range(calls - 1)]
        answer = await ask(member, peer, 1, "echo", text="x" * 200_000).last()
        assert "more than the gateway takes" in answer["error"]["message"]
        assert ["result" in await other.last() for other in others] == [True] * len(others)
        assert member.counts.dropped == 1


def test_the_id_of_a_long_message_is_known_by_either_end() -> None:
    found = message.id_at_an_end
    assert found(b'{"jsonrpc":"2.0","id":77,"result":{"id":5', b'"id":9}}') == b"77"
    assert found(b'{"result":{"id":5,"a":"', b'"x"},"id":"k","jsonrpc":"2.0"}') == b'"k"'
    assert found(b'{"result":{"id":5,"a":"', b'xx"}}') is None


async def test_many_bad_lines_are_told_as_a_number(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(pollution, "APART", 0.01)
    noise = pollution.Pollution("it")
    for number in range(20):
        noise.tell(b"line %d" % number)
    with anyio.fail_after(LIMIT):
        while "15 more lines" not in caplog.text:  # noqa: ASYNC110  the log has no event to wait for
            await asyncio.sleep(0.01)
    assert caplog.text.count("stdout holds a line") == pollution.SHOWN
    assert "'line 19'" in caplog.text
