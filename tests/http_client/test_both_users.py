"""Checks and gateway read the same of any server: one client serves both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from mcpwatch.checks.caller import read
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import NameCache, ProbeTransport
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.url import parse
from mcpwatch.model.probe import Symptom, Target

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, tuple[bytes, int | Symptom]] = {
    "with a length": (OK + b"Content-Length: 2\r\n\r\nok", 200),
    "in chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200),
    "to the end of the connection": (OK + b"\r\nok", 200),
    "after an early hint": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200),
    "of HTTP/1.0": (b"HTTP/1.0 404 Not Found\r\nX: y\r\n\r\nok", 404),
    "a redirect": (b"HTTP/1.1 308 X\r\nLocation: /y\r\nContent-Length: 2\r\n\r\nok", 308),
    "two at once": ((OK + b"Content-Length: 2\r\n\r\nok") * 2, 200),
    "none": (b"", Symptom.CUT),
    "half a head": (OK + b"Content-", Symptom.CUT),
    "half a body": (OK + b"Content-Length: 9\r\n\r\nok", Symptom.CUT),
    "half a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nok", Symptom.CUT),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", Symptom.BAD_REPLY),
    "another protocol": (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Symptom.BAD_REPLY),
    "another coding": (OK + b"Transfer-Encoding: gzip\r\n\r\nok", Symptom.BAD_REPLY),
    "a chunk without a size": (OK + b"Transfer-Encoding: chunked\r\n\r\nno\r\n", Symptom.BAD_REPLY),
    "a large head": (OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n", Symptom.TOO_LARGE),
    "many headers": (OK + b"X: y\r\n" * 300 + b"\r\n", Symptom.TOO_LARGE),
}


@asynccontextmanager
async def saying(answer: bytes) -> AsyncGenerator[str]:
    """A server that says this to each request and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_is_read_alike_by_a_check_and_by_the_gateway(kind: str) -> None:
    answer, wanted = ANSWERS[kind]
    found: list[object] = []
    async with saying(answer) as url:
        try:
            response = await HttpClient(url).request("POST", url, {}, b"{}")
            found.append((response.status, response.headers, await response.read()))
        except HttpFailed as error:
            found.append((error.symptom, error.reason))
        timeline = ProbeTimeline(20)
        transport = ProbeTransport(Target(url), NameCache(), timeline)
        try:
            async with timeline.scope:
                response = await transport.request("POST", parse(url), {}, b"{}")
                found.append((response.status, response.headers, await read(response, 100)))
        except ProbeFailure as failure:
            found.append((failure.symptom, failure.message))
        finally:
            transport.abort()
    assert found[0] == found[1]
    assert isinstance(found[0], tuple)
    assert found[0][0] == wanted


async def test_a_server_that_refuses_a_large_request_unread_is_asked_again_on_a_new_connection() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        await closed.wait()  # it neither reads on nor hangs up
        writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    client = HttpClient(url)
    try:
        for _ in range(2):
            answer = await client.request("POST", url, {}, b"x" * 20_000_000)
            assert (answer.status, await answer.read()) == (413, b"")
    finally:
        client.close()
        closed.set()
        server.close()
    assert asked == 2
