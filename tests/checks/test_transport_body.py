"""A response body on a connection: how much of it is read, and whether its connection can be used again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from mcpwatch.checks.connection import Connection
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.transport import SETTLE, Body
from mcpwatch.model.probe import Symptom
from tests.checks.memory import Answer
from tests.virtual import VirtualClock, VirtualLoop, run

CUT = ProbeFailure(Symptom.CUT, "cut")


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        await scene()

    run(within)


def body(*pieces: bytes, more: bool = False) -> tuple[Body, Answer]:
    answer = Answer(pieces=list(pieces), open=more)
    return Body(cast("Connection", answer)), answer


async def read(stream: Body) -> list[bytes]:
    return [piece async for piece in stream]


def test_a_body_is_given_as_it_came_and_a_stream_without_its_byte_order_mark() -> None:
    async def scene() -> None:
        mark = b"\xef\xbb\xbf"
        assert await read(body(mark + b"a", b"b")[0]) == [mark + b"a", b"b"]
        stream, _ = body(mark, mark + b"a", b"b")
        stream.limit = 100
        assert await read(stream) == [mark + b"a", b"b"]
        stream, _ = body(mark + b"a", mark + b"b")
        stream.limit = 100
        assert await read(stream) == [b"a", mark + b"b"]
        stream, _ = body(b"a", b"b")
        stream.over = True
        assert await read(stream) == []

    play(scene)


def test_one_event_of_a_stream_is_bounded_and_the_next_has_the_bound_anew() -> None:
    async def scene() -> None:
        stream, _ = body(bytes(2 << 20), bytes(1 << 20), b"x", b"y")
        stream.limit = 3 << 20
        with pytest.raises(ProbeFailure, match="one event of the stream is larger than 3 MiB") as caught:
            await read(stream)
        assert (caught.value.symptom, stream.size) == (Symptom.TOO_LARGE, (3 << 20) + 1)
        stream, _ = body(b"abc", b"def")
        stream.limit = 3
        found: list[bytes] = []
        async for piece in stream:
            found.append(piece)
            stream.size = 0
        assert found == [b"abc", b"def"]

    play(scene)


def test_a_body_that_says_nothing_is_read_over_or_dropped_when_it_is_long() -> None:
    async def scene() -> None:
        stream, short = body(b"abc", b"def")
        await stream.skip(6)
        assert (short.pieces, short.closed) == ([], False)
        stream, long = body(b"abc", b"def", b"g", b"h")
        await stream.skip(6)
        assert (long.pieces, long.closed) == ([b"h"], True)

    play(scene)


@pytest.mark.parametrize(("after", "kept"), [(0.0, True), (SETTLE / 2, True), (SETTLE * 2, False)])
def test_a_stream_gets_a_moment_to_end_by_itself(after: float, kept: bool) -> None:
    async def scene() -> None:
        stream, answer = body(b"rest", more=True)

        def end() -> None:
            answer.open = False
            answer.more.set()

        loop = asyncio.get_running_loop()
        loop.call_later(after, end)
        began = loop.time()
        await stream.settle()
        assert answer.closed is not kept
        assert loop.time() - began == pytest.approx(min(after, SETTLE), abs=0.001)

    assert SETTLE == 0.02
    play(scene)


def test_a_stream_that_is_whole_or_dropped_or_fails_is_not_waited_for() -> None:
    async def scene() -> None:
        whole, answer = body()
        await whole.settle()
        assert not answer.closed
        dropped, answer = body(b"x", more=True)
        answer.abort()
        await dropped.settle()
        assert answer.pieces == [b"x"]
        failing, answer = body(b"x", more=True)

        async def fails() -> bytes:
            raise CUT

        answer.chunk = fails  # type: ignore[method-assign]
        await failing.settle()
        assert answer.closed
        assert asyncio.get_running_loop().time() == 0

    play(scene)
