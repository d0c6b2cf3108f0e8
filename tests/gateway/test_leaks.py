"""After much use the gateway is as big as before: memory, descriptors, processes, sessions."""

from __future__ import annotations

import json
import socket
import struct
from urllib.parse import urlsplit

import anyio
import psutil
import pytest

from tests.gateway.program import HELLO, TINY, Gateway, call, gateway, http, request, sse, text

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
ROOM = 12 * 1024 * 1024
"""What an allocator may keep (bytes)."""


def cut(where: str) -> None:
    """Begin a legacy session and a Streamable HTTP one, and cut each with RST."""
    parts = urlsplit(where)
    address = (parts.hostname, parts.port)
    body = json.dumps(request(0, "initialize", HELLO)).encode()
    head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (
        f"GET {parts.path}/sse HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode(),
        f"POST {parts.path}/mcp HTTP/1.1\r\n".encode() + head + body,
    ):
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(sent)
            connection.recv(4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def size(running: Gateway) -> tuple[int, int, int]:
    process = psutil.Process(running.process.pid)
    return process.memory_info().rss, process.num_fds(), len(process.children(recursive=True))


async def test_calls_handshakes_and_cut_sessions_leave_nothing_behind() -> None:
    with gateway({"servers": {"tiny": TINY}, "limits": {"session_idle": 1}}) as running:
        running.wait({"tiny": "running"})
        url = f"{running.url}/tiny"

        async def use(calls: int, handshakes: int, cuts: int) -> None:
            async with sse(f"{url}/sse") as client:
                await client.hello()
                for number in range(calls):
                    assert text(await client.ask(call(number, "echo", x=number))) == {"x": number}
            for number in range(handshakes):
                async with sse(f"{url}/sse") if number % 2 else http(f"{url}/mcp") as client:
                    await client.hello()
            for _ in range(cuts):
                await anyio.to_thread.run_sync(cut, url)

        await use(200, 40, 40)
        await quiet(running)
        before = size(running)
        await use(5000, 1000, 500)
        await quiet(running)
        after = size(running)
        assert after[1] <= before[1] + 2
        assert after[2] == before[2]
        assert after[0] <= before[0] + ROOM, f"{(after[0] - before[0]) / 1e6:.1f} MB more"


async def quiet(running: Gateway) -> None:
    """Return when every session has been reaped."""
    with anyio.fail_after(30):
        while running.members()["tiny"]["sessions"]:  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.005)
