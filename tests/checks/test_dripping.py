"""An answer that comes a few bytes at a time is told from silence: its server is not hung, and nothing restarts it for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from mcpwatch.checks import probe
from mcpwatch.model.probe import Outcome, Transport
from tests.servers.listening import listening

pytestmark = pytest.mark.anyio

TIMEOUT = 1.2
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Drip:
    """Answers each request with `at_once`, then a piece of `dropped` each `pause` seconds, again and again."""

    def __init__(self, at_once: bytes, dropped: bytes, pause: float = 0.15) -> None:
        self.at_once, self.dropped, self.pause = at_once, dropped, pause
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.at_once)
            while self.dropped:
                for byte in self.dropped:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(self.pause)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()


@asynccontextmanager
async def dripping(at_once: bytes, dropped: bytes) -> AsyncGenerator[str]:
    server = Drip(at_once, dropped)
    async with listening(server):
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.sample
@pytest.mark.parametrize(
    ("wire", "at_once", "dropped", "stage"),
    [
        ("http", b"", HEAD, "initialize"),
        ("http", HEAD, b'{"jsonrpc":"2.0",', "initialize"),
        ("http", STREAM, b"event: message\ndata: {", "initialize"),
        ("http", STREAM + b"data: {", b'"a', "initialize"),
        ("stateless", HEAD, b'{"jsonrpc":"2.0",', "discover"),
        ("sse", b"", HEAD, "open"),
        ("sse", STREAM, b"event: endpoint", "endpoint"),
    ],
)
async def test_what_comes_too_slowly_is_named_with_how_much_came(
    wire: Transport, at_once: bytes, dropped: bytes, stage: str
) -> None:
    async with dripping(at_once, dropped) as url:
        result = await probe(f"{url}/{'sse' if wire == 'sse' else 'mcp'}", transport=wire, timeout=TIMEOUT)
    assert (result.outcome, result.symptom_text, str(result.stage)) == (Outcome.FAILURE, "dripping", stage), result
    assert "bytes came of an answer in 1." in result.message
    assert result.message.endswith("and more is coming")


@pytest.mark.sample
@pytest.mark.parametrize(
    ("wire", "at_once", "dropped", "symptom"),
    [
        ("http", b"", b"", "timeout@initialize"),
        ("http", HEAD, b"", "timeout@initialize"),
        ("http", HEAD + b'{"jsonrpc"', b"", "timeout@initialize"),
        ("http", HEAD, b" \n", "timeout@initialize"),
        ("http", STREAM, b": ping\n\n", "timeout@initialize"),
        ("http", STREAM + b"data: {", b"", "timeout@initialize"),
        ("sse", STREAM, b"", "no_endpoint"),
        ("sse", STREAM, b": ping\n\n", "no_endpoint"),
    ],
)
async def test_what_keeps_a_connection_alive_is_no_answer_that_comes(
    wire: Transport, at_once: bytes, dropped: bytes, symptom: str
) -> None:
    async with dripping(at_once, dropped) as url:
        result = await probe(f"{url}/{'sse' if wire == 'sse' else 'mcp'}", transport=wire, timeout=TIMEOUT)
    assert result.symptom_text == symptom, result
