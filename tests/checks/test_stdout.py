"""The stdout of a stdio server: whole lines out of pieces, messages in them, and what is no message."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mcpwatch.checks import stdout as module
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.stdout import POLLUTED_MAX, Stdout
from mcpwatch.model.probe import Symptom

pytestmark = pytest.mark.anyio


def stream(*pieces: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return reader


async def lines(out: Stdout, reader: asyncio.StreamReader) -> list[bytes]:
    found: list[bytes] = []
    while line := await out.line(reader):
        found.append(line)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 65_536])
async def test_lines_are_whole_however_they_came_also_a_last_one_without_its_end(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_SIZE", size)
    assert await lines(Stdout(), stream(b"one\ntwo\n", b"\nthree")) == [b"one\n", b"two\n", b"\n", b"three\n"]
    assert await lines(Stdout(), stream(b"\n", b"a\n")) == [b"\n", b"a\n"]
    assert await lines(Stdout(), stream()) == []


async def test_a_line_that_never_ends_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.LINE_LIMIT == 24 << 20
    monkeypatch.setattr(module, "LINE_LIMIT", 2 << 20)
    fits, over = Stdout(), Stdout()
    assert len(await fits.line(stream(bytes(2 << 20), b"\n"))) == (2 << 20) + 1
    with pytest.raises(ProbeFailure, match="a line of its stdout is longer than 2 MiB") as caught:
        await over.line(stream(bytes((2 << 20) + 65_536), b"\n"))
    assert caught.value.symptom is Symptom.TOO_LARGE


async def hears(out: Stdout, piece: bytes) -> None:
    """Wait for a line when only a piece of it came."""
    reader = asyncio.StreamReader()
    reader.feed_data(piece)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            raise AssertionError(await out.line(reader))


def test_messages_are_read_and_everything_else_is_pollution_but_empty_lines() -> None:
    out = Stdout()
    assert out.messages(b'{"id": 1}\n') == [{"id": 1}]
    assert out.messages(b'[{"id": 1}, {"id": 2}]\n') == [{"id": 1}, {"id": 2}]
    assert out.messages(b" \r\n") == out.messages(b"Starting\xff up\n") == []
    assert out.polluted == ["Starting\ufffd up"]
    assert out.instead() == "", "a message was heard"


def test_pollution_is_bounded_in_lines_and_in_length() -> None:
    out = Stdout()
    for _ in range(POLLUTED_MAX + 10):
        out.messages(b"x" * 999 + b"\n")
    out.messages(b"\x00\n")
    assert out.polluted == ["x" * 159 + "…"] * 20


async def test_what_came_instead_of_any_message_is_the_first_line_or_the_unfinished_one() -> None:
    out = Stdout()
    assert out.instead() == ""
    await hears(out, b"Ok to proceed? (y) ")
    assert out.instead() == "Ok to proceed? (y)"
    out = Stdout()
    out.messages(b"first\n")
    out.messages(b"second\n")
    assert out.instead() == "first"
