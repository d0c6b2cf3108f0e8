"""The way to the gateway's admin socket, against a peer that writes what it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.admin import AdminSocket

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\n"
EVENTS = HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'event: child\ndata: {"name": "time"}\n\n'


@asynccontextmanager
async def answering(answer: bytes, directory: Path) -> AsyncGenerator[AdminSocket]:
    """A way to a peer that answers with these bytes and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, str(directory / "admin.sock")):
        yield AdminSocket(directory / "admin.sock")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (HEAD + b'Content-Length: 8\r\n\r\n{"a": 1}', {"a": 1}),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n', {"a": 1}),
        (HEAD + b"Connection: close\r\n\r\nnot JSON", "not JSON"),
    ],
    ids=["by its length", "in chunks", "to the end"],
)
async def test_an_answer_is_read_whole_however_its_end_is_told(answer: bytes, body: Any, tmp_path: Path) -> None:
    async with answering(answer, tmp_path) as admin:
        reply = await admin.request("POST", "/reload")
    assert (reply.status, reply.body) == (200, body)


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", HEAD + b"Content-Length: 8\r\n\r\n{"], ids=["nothing", "odd", "cut"])
async def test_half_an_answer_and_no_answer_are_told_as_a_gateway_that_is_away(answer: bytes, tmp_path: Path) -> None:
    async with answering(answer, tmp_path) as admin:
        with pytest.raises(RuntimeFailed, match="no answer on"):
            await admin.request("GET", "/members")
    with pytest.raises(RuntimeFailed, match="no answer on"):
        await AdminSocket(tmp_path / "nobody.sock").request("GET", "/members")


async def hear(admin: AdminSocket, heard: list[tuple[str, Any]]) -> None:
    async for event in admin.events():
        heard.append(event)  # noqa: PERF401 - what came before the end counts


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"", b"5\r\nev"], ids=["whole", "cut between", "cut within"])
async def test_events_come_one_by_one_until_the_gateway_hangs_up(end: bytes, tmp_path: Path) -> None:
    piece = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    heard: list[tuple[str, Any]] = []
    async with answering(EVENTS + piece + piece + end, tmp_path) as admin:
        with pytest.raises(EOFError, match="hung up"):
            await hear(admin, heard)
    assert heard == [("child", {"name": "time"})] * 2
