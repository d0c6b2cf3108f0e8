"""Health checks by clients of HTTP/1.0 that name no Host, as HAProxy's are, and what else such a client may not do."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mcpwatch.gateway.serve.app import App
from mcpwatch.gateway.settings import Settings
from tests.gateway.raw import Client, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /readyz HTTP/1.0\r\n\r\n", 200),
        (b"OPTIONS /healthz HTTP/1.0\r\n\r\n", 204),
        (b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 421),
        (b"POST /mcp HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 421),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("half", [False, True])
async def test_a_health_check_without_a_host_is_answered_and_nothing_else(request_: bytes, status: int, half: bool) -> None:
    async with listening(cast("Any", App(Settings()))) as (_, connect):
        client: Client = await connect()
        client.writer.write(request_)
        if half:
            client.writer.write_eof()
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 %d " % status)
