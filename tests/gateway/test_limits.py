"""Every bound on what a client may do to the gateway, on a gateway that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.gateway.program import ACCEPT, HELLO, LIMIT, TINY, TLS, Gateway, call, gateway, http, request, sse, text
from tests.gateway.raw import Client, get, post

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ORIGIN = "https://inspector.example"
TOKENS = ["token-of-the-first", "token-of-the-second"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def small() -> Iterator[Gateway]:
    """Small bounds, one listed origin."""
    limits = {"body": 2000, "headers": 2000}
    with gateway({"servers": {"tiny": TINY}, "limits": limits, "allowed_origins": [ORIGIN]}) as running:
        running.wait({"tiny": "running"})
        yield running


async def raw(running: Gateway) -> Client:
    parts = urlsplit(running.url)
    return Client(*await asyncio.open_connection(parts.hostname, parts.port, limit=2**16))


async def metric(running: Gateway, name: str) -> int:
    async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
        text = (await client.get(f"{running.url}/metrics")).text
    named = (line.rpartition(" ")[::2] for line in text.splitlines() if line.startswith(f"mcpwatch_gateway_{name}"))
    return sum(int(value) for full, value in named if full.removeprefix(f"mcpwatch_gateway_{name}")[:1] in {"", "{"})


async def test_a_body_and_a_head_have_a_largest_size(small: Gateway) -> None:
    before = await metric(small, 'refused_total{status="413"}')
    client = await raw(small)
    status, headers, body = await client.ask(post("/tiny/mcp", b"x" * 3000).replace(b"Host: x", b"Host: localhost"))
    assert (status, headers["connection"], json.loads(body)["error"]["code"]) == (413, "close", -32600)
    assert await metric(small, 'refused_total{status="413"}') == before + 1
    other = await raw(small)
    status, _, body = await other.ask(get("/healthz", "X: " + "y" * 3000, host="localhost"))
    assert (status, json.loads(body)) == (431, {"error": "the head of the request is too large"})


async def test_a_refused_client_is_told_before_it_has_sent_its_body(small: Gateway) -> None:
    client = await raw(small)
    status, _, _ = await client.ask(b"POST /tiny/mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1999\r\n\r\n")
    assert status == 421


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/_healthz", "/_readyz", "/metrics", "/tiny/health"])
async def test_pages_are_there_with_and_without_a_body(small: Gateway, method: str, path: str) -> None:
    async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
        answer = await client.request(method, small.url + path)
        assert answer.status_code == 200
        assert bool(answer.content) == (method == "GET")
        assert (await client.post(small.url + path)).status_code == 405


async def test_a_stream_can_be_asked_about_without_opening_a_session(small: Gateway) -> None:
    async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
        answer = await client.head(f"{small.url}/tiny/sse")
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")
        allowed = await client.options(f"{small.url}/tiny/mcp")
        assert (allowed.status_code, allowed.headers["allow"]) == (204, "GET, POST, DELETE, OPTIONS")


async def test_only_a_listed_origin_is_told_that_it_may_call(small: Gateway) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
        yes = await client.options(f"{small.url}/tiny/mcp", headers=ask | {"origin": ORIGIN})
        assert (yes.status_code, yes.headers["access-control-allow-origin"], yes.headers["vary"]) == (204, ORIGIN, "Origin")
        assert "POST" in yes.headers["access-control-allow-methods"]
        other = await client.options(f"{small.url}/tiny/mcp", headers=ask | {"origin": "http://localhost:3000"})
        assert other.status_code == 403
        own = await client.options(f"{small.url}/tiny/mcp", headers=ask | {"origin": small.url})
        assert (own.status_code, "access-control-allow-origin" in own.headers) == (204, False)
        no = await client.options(f"{small.url}/tiny/mcp", headers=ask | {"origin": "https://evil.example"})
        assert no.status_code == 403
        called = await client.post(
            f"{small.url}/tiny/mcp", json=request(1, "initialize", HELLO), headers=ACCEPT | {"origin": ORIGIN}
        )
        assert called.headers["access-control-allow-origin"] == ORIGIN
        assert "mcp-session-id" in called.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("path", ["/tiny/rpc", "/tiny/messages", "/tiny/mcp"])
async def test_a_page_cannot_call_without_asking_first(small: Gateway, path: str) -> None:
    body = json.dumps(call(1, "echo", x=1)).encode()
    async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
        for media in ("text/plain", "application/x-www-form-urlencoded", None):
            simple = await client.post(f"{small.url}{path}", content=body, headers={"content-type": media} if media else {})
            assert (simple.status_code, simple.json()["error"]["code"]) == (415, -32600)
        own = {"content-type": "Application/JSON; charset=utf-8", "origin": "http://localhost:1234"}
        assert (await client.post(f"{small.url}{path}", content=body, headers=own)).status_code == 403


async def test_an_idle_session_is_closed_and_one_with_an_open_stream_is_not() -> None:
    with gateway({"servers": {"tiny": TINY}, "limits": {"session_idle": 1}}) as running:
        running.wait({"tiny": "running"})
        async with sse(f"{running.url}/tiny/sse") as open_one, http(f"{running.url}/tiny/mcp") as idle:
            await open_one.hello()
            await idle.hello()
            async with asyncio.timeout(LIMIT):
                while await metric(running, "sessions") != 1:
                    continue
            assert (await idle.client.delete(idle.url, headers=idle.headers)).status_code == 404
            assert text(await open_one.ask(call(1, "echo", x=1))) == {"x": 1}
            assert await metric(running, "sessions_reaped_total") == 1


async def test_a_token_may_make_only_so_many_calls_and_no_other_pays_for_it() -> None:
    limits = {"calls_per_second": 0.001}
    with gateway({"servers": {"tiny": TINY}, "tokens": TOKENS, "limits": limits}) as running:
        running.wait({"tiny": "running"})
        async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:

            async def ask(token: str) -> httpx.Response:
                headers = ACCEPT | {"authorization": f"Bearer {token}"}
                return await client.post(f"{running.url}/tiny/rpc", json=call(1, "echo", x=1), headers=headers)

            assert (await ask(TOKENS[0])).status_code == 200
            refused = await ask(TOKENS[0])
            assert (refused.status_code, refused.json()) == (429, {"error": "too many requests for this token"})
            assert int(refused.headers["retry-after"]) >= 1
            assert (await ask(TOKENS[1])).status_code == 200
            page = await client.get(f"{running.url}/metrics", headers={"authorization": f"Bearer {TOKENS[1]}"})
            assert 'mcpwatch_gateway_refused_total{status="429"} 1' in page.text
        running.stop()
        said = (running.file.parent / "log").read_text()
        assert not any(token in said for token in TOKENS)


async def test_a_slow_reader_is_dropped_and_nobody_else_notices() -> None:
    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        parts = urlsplit(running.url)
        slow = await raw(running)
        slow.writer.write(get("/tiny/sse", host=parts.netloc))
        await slow.head()
        async with asyncio.timeout(LIMIT):
            while not (line := await slow.reader.readline()).startswith(b"data: "):
                continue
        endpoint = line[6:].strip().decode()
        big = json.dumps(call(1, "echo", x="y" * 1_000_000)).encode()
        async with sse(f"{running.url}/tiny/sse") as quick, httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
            await quick.hello()
            async with asyncio.timeout(LIMIT):
                while await metric(running, "slow_readers_total") == 0:
                    await client.post(running.url + endpoint, content=big, headers=ACCEPT)
                    assert text(await quick.ask(call(2, "echo", x=1))) == {"x": 1}
        async with asyncio.timeout(LIMIT):
            while await metric(running, "sessions"):
                continue
        slow.writer.transport.abort()


async def test_noise_on_stdout_is_counted_and_shown_but_only_so_often() -> None:
    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        async with sse(f"{running.url}/tiny/sse") as client:
            await client.hello()
            for number in range(20):
                assert text(await client.ask(call(number, "noise"))) == "made noise"
        assert await metric(running, "member_stdout_pollution_total") == 20
        running.stop()
        said = (running.file.parent / "log").read_text()
        assert said.count("a line that is no JSON-RPC message: 'this is no JSON-RPC'") == 5


async def test_readiness_names_who_is_unhealthy() -> None:
    absent = {"command": "no-such-program-anywhere"}
    with gateway({"servers": {"tiny": TINY, "absent": absent}}) as running:
        running.wait({"tiny": "running", "absent": "failed"})
        async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as client:
            ready = await client.get(f"{running.url}/readyz")
            assert (ready.status_code, ready.json()["status"], ready.json()["unhealthy"]) == (503, "degraded", ["absent"])
            assert (await client.get(f"{running.url}/healthz")).json()["serverCount"] == 2
            health = await client.get(f"{running.url}/absent/health")
            assert (health.status_code, health.json()["status"], health.json()["tools_count"]) == (503, "unhealthy", 0)
            assert "no-such-program-anywhere" in health.json()["error"]
            rpc = await client.post(f"{running.url}/absent/rpc", json=call(7, "echo"))
            assert (rpc.status_code, rpc.json()["id"], rpc.json()["error"]["data"]["member"]) == (503, 7, "absent")
            assert int(rpc.headers["retry-after"]) >= 1


async def test_a_call_under_way_is_answered_when_the_gateway_is_told_to_stop() -> None:
    with gateway({"servers": {"tiny": TINY}, "limits": {"drain": LIMIT}}) as running:
        running.wait({"tiny": "running"})
        async with sse(f"{running.url}/tiny/sse") as client, http(f"{running.url}/tiny/mcp") as other:
            await client.hello(sampling={})
            await other.hello()
            question = await client.ask(call(1, "ask", who="me"))
            stopping = asyncio.create_task(asyncio.to_thread(running.stop))
            async with asyncio.timeout(LIMIT):
                while await listens(running):
                    continue
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}}
            assert text((await other.post(call(2, "echo", x=1))).json()) == {"x": 1}
            assert text(await client.ask(reply))["result"] == {"said": 1}
            assert await stopping == 0


async def listens(running: Gateway) -> bool:
    """Whether a new connection is taken."""
    try:
        client = await raw(running)
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # it came in while the socket was being closed; the next one is refused
        return True
    client.writer.transport.abort()
    return True
