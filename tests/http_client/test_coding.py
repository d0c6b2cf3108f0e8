"""A compressed body is unpacked in steps, so that a small piece of a large body does not hold the loop."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest

from mcpwatch.http_client.coding import STEP, Unpacker

PLAIN = bytes(40 * 1024 * 1024)


def body(*pieces: bytes) -> Callable[[], Awaitable[bytes | None]]:
    """A body in these pieces."""
    left = [*pieces]

    async def more() -> bytes | None:
        return left.pop(0) if left else None

    return more


@pytest.mark.anyio
async def test_others_have_their_turn_while_a_piece_is_unpacked_that_is_a_thousand_times_as_large() -> None:
    packed = zlib.compress(PLAIN, 9)
    assert len(packed) > 2 * STEP
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.get_running_loop().create_task(count())
    parts = [part async for part in Unpacker("deflate").read(body(packed), len(PLAIN) + 1)]
    counting.cancel()
    assert b"".join(parts) == PLAIN
    assert max(len(part) for part in parts) <= STEP * 1032
    assert turns >= len(packed) // STEP


@pytest.mark.anyio
async def test_a_part_is_never_larger_than_the_caller_takes() -> None:
    parts = [part async for part in Unpacker("gzip").read(body(zlib.compress(PLAIN, 9, wbits=31)), 1000)]
    assert {len(part) for part in parts} == {1000}


@pytest.mark.anyio
async def test_what_is_not_compressed_is_one_part() -> None:
    assert [part async for part in Unpacker("").read(body(PLAIN), 10)] == [PLAIN]
