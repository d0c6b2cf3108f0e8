"""The HTTP server: every rule of what a client may send, and what it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from mcpwatch.gateway.http import limits, listener
from mcpwatch.gateway.http.listener import Listener
from tests.gateway.raw import LIMIT, Client, Mirror, get, listening, post

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def streaming() -> AsyncGenerator[tuple[Mirror, Client]]:
    """A client that has read the head of a stream, and whoever writes it."""
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(get("/stream"))
        await client.head()
        yield app, client


async def held(client: Client, app: Mirror, behind: bytes = b"") -> None:
    """Ask for what is not answered before `app.go`, with `behind` right after it; return when it runs."""
    client.writer.write(get("/slow") + behind)
    async with asyncio.timeout(LIMIT):
        await app.waiting.wait()


async def test_a_kept_connection_answers_one_request_after_the_other() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        assert (await client.ask(get("/a%20b?q=1")))[2] == b"GET|/a b|q=1|x|"
        status, headers, body = await client.ask(post("/p", b"hello"))
        assert (status, headers["content-type"], body) == (200, "text/plain", b"POST|/p||x|hello")
        assert "connection" not in headers


async def test_pipelined_requests_are_answered_in_order_and_only_some_of_them_wait_in_memory() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        await held(client, app, b"".join(get(f"/{number}") for number in range(500)))
        assert app.seen == ["/slow"]
        app.go.set()
        bodies = [(await client.answer())[2] for _ in range(501)]
        assert bodies == [b"GET|/slow||x|", *(b"GET|/%d||x|" % number for number in range(500))]


async def test_a_refusal_between_pipelined_requests_keeps_its_place() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        client.writer.write(post("/no", b"x" * 500) + get("/a") + get("/no") + get("/b"))
        assert [(await client.answer())[0] for _ in range(4)] == [401, 200, 401, 200]


async def test_a_request_may_come_byte_by_byte_and_chunked() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        whole = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\n\r\n"
        for index in range(len(whole)):
            client.writer.write(whole[index : index + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[2] == b"POST|/p||x|abcde"
        assert (await client.ask(get("/next")))[0] == 200


async def test_what_is_asked_about_is_refused_or_invited_before_the_body_comes() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        expecting = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
        assert (await client.ask(expecting % (b"/p", 5)))[0] == 100
        assert (await client.ask(b"hello"))[2] == b"POST|/p||x|hello"
        status, headers, _ = await client.ask(expecting % (b"/no", 5))
        assert (status, headers["connection"]) == (401, "close")
        other = await connect()
        assert (await other.ask(expecting % (b"/p", 5000)))[0] == 413


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_long_is_answered_although_the_client_goes_on_sending(chunked: bool) -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        if chunked:
            client.writer.write(
                b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
            )
            client.writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        else:
            client.writer.write(post("/p", b"x" * 500_000))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000, 431),
        (b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
async def test_what_is_no_request_is_told_so_in_one_line_and_disconnected(sent: bytes, status: int) -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        got, headers, body = await client.ask(sent)
        assert (got, headers["connection"]) == (status, "close")
        assert b"\n" not in body
        assert body.startswith(b'{"error": ')
        assert await client.rest() == b""


async def test_a_broken_request_behind_a_running_one_takes_no_answer_away() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        await held(client, app, b"nonsense\r\n\r\n")
        app.go.set()
        assert (await client.answer())[0] == 200
        assert b" 200 " not in await client.rest()


async def test_an_absolute_target_is_judged_by_its_own_host() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        assert (await client.ask(get("http://there:81/p?q", host="here")))[2] == b"GET|/p|q|there:81|"
        assert (await client.ask(get("http://there", host="here")))[2] == b"GET|/||there|"
        assert (await client.ask(get("http://[::1]:80/p", host="here")))[2] == b"GET|/p||[::1]:80|"


async def test_head_is_answered_without_a_body_and_the_length_it_would_have() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        client.writer.write(b"HEAD /p HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await client.answer(head=True)
        assert (status, headers["content-length"]) == (200, str(len(b"HEAD|/p||x|")))
        assert (await client.ask(get("/next")))[0] == 200


async def test_an_offer_to_speak_something_else_is_passed_over() -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
        assert (await client.ask(get("/q", *offer) + get("/r")))[2] == b"GET|/q||x|"
        assert (await client.answer())[2] == b"GET|/r||x|"
        assert (await client.ask(post("/p", get("/smuggled"), *offer)))[0] == 400
        assert await client.rest() == b""


async def test_an_old_client_and_one_that_says_close_are_closed_after_the_answer() -> None:
    async with listening(Mirror()) as (_, connect):
        for request in (b"GET /p HTTP/1.0\r\n\r\n", get("/p", "Connection: close")):
            client = await connect()
            status, headers, _ = await client.ask(request)
            assert (status, headers["connection"]) == (200, "close")
            assert await client.rest() == b""


async def test_a_stream_is_chunked_event_by_event_and_ends_so_that_the_connection_is_kept() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(get("/stream"))
        status, headers = await client.head()
        assert (status, headers["content-type"], headers["transfer-encoding"]) == (200, "text/event-stream", "chunked")
        assert (headers["cache-control"], headers["x-accel-buffering"], headers["x-it"]) == ("no-store", "no", "1")
        app.streams[0].write(b'{"a":1}')
        app.streams[0].raw(b": ping\r\n\r\n")
        app.streams[0].end("closed")
        async with asyncio.timeout(LIMIT):
            text = await client.reader.readuntil(b"0\r\n\r\n")
        assert text == b'21\r\nevent: message\r\ndata: {"a":1}\r\n\r\n\r\na\r\n: ping\r\n\r\n\r\n0\r\n\r\n'
        assert (await client.ask(get("/next")))[0] == 200


async def test_an_old_client_gets_a_stream_that_ends_with_its_connection() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        client.writer.write(b"GET /stream HTTP/1.0\r\n\r\n")
        _, headers = await client.head()
        assert "transfer-encoding" not in headers
        app.streams[0].write(b"{}")
        app.streams[0].end("closed")
        assert await client.rest() == b"event: message\r\ndata: {}\r\n\r\n"


async def test_a_stream_whose_client_does_not_read_is_cut_and_no_other_notices() -> None:
    app = Mirror()
    async with listening(app) as (_, connect):
        slow, quick = await connect(), await connect()
        slow.writer.write(get("/stream"))
        await slow.head()
        async with asyncio.timeout(LIMIT):
            while not app.streams[0].ended.done():
                app.streams[0].write(b"x" * 1_000_000)
                assert (await quick.ask(get("/p")))[0] == 200
            assert app.streams[0].ended.result() == "slow"
            await app.lost.wait()


async def test_one_message_larger_than_the_bound_reaches_a_client_that_reads() -> None:
    async with streaming() as (app, client):
        app.streams[0].write(b"x" * 20_000_000)
        async with asyncio.timeout(LIMIT):
            await client.reader.readexactly(20_000_000)
        assert not app.streams[0].ended.done()


async def test_room_comes_when_the_client_has_read() -> None:
    async with streaming() as (app, client):
        app.streams[0].write(b"x" * 20_000_000)
        waiting = asyncio.create_task(app.streams[0].room())
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        async with asyncio.timeout(LIMIT):
            await client.reader.readexactly(20_000_000)
            await waiting


async def test_whoever_answers_hears_that_the_client_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "TICK", 0.05)
    monkeypatch.setattr(limits, "HALF_CLOSED", 0.0)
    app = Mirror()
    async with listening(app) as (_, connect):
        client = await connect()
        await held(client, app)
        async with asyncio.timeout(LIMIT):
            client.writer.transport.abort()
            await app.lost.wait()


async def test_a_failure_of_ours_is_answered_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        assert (await client.ask(get("/breaks")))[0] == 500
        assert (await client.ask(get("/next")))[0] == 200
        assert "a request failed" in caplog.text


@pytest.mark.sample
@pytest.mark.parametrize(
    ("bound", "sent"),
    [
        ("HEAD_LIMIT", b"GET / HTTP/1.1\r\nHost: x"),
        ("BODY_LIMIT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"),
    ],
)
async def test_a_request_that_does_not_end_is_told_so(monkeypatch: pytest.MonkeyPatch, bound: str, sent: bytes) -> None:
    monkeypatch.setattr(listener, "TICK", 0.05)
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        assert (await client.ask(get("/p")))[0] == 200
        monkeypatch.setattr(limits, bound, 0.0)
        status, headers, _ = await client.ask(sent)
        assert (status, headers["connection"]) == (408, "close")
        assert await client.rest() == b""


@pytest.mark.slow
async def test_a_connection_on_which_nothing_comes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(Mirror()) as (_, connect):
        client = await connect()
        monkeypatch.setattr(limits, "KEEP_ALIVE", 0.0)
        assert (await client.ask(get("/p")))[0] == 200
        assert await client.rest() == b""
        monkeypatch.setattr(limits, "HEAD_LIMIT", 0.0)
        silent = await connect()
        assert await silent.rest() == b""


@pytest.mark.slow
async def test_a_client_that_reads_nothing_of_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_LIMIT", 0.0)
    async with streaming() as (app, _):
        app.streams[0].write(b"x" * 20_000_000)
        async with asyncio.timeout(LIMIT):
            await app.lost.wait()


async def test_drain_lets_running_requests_finish_and_closes_the_rest() -> None:
    app = Mirror()
    async with listening(app) as (listener, connect):
        first = await connect()
        assert (await first.ask(get("/p", "Connection: close")))[0] == 200
        await empty(listener)
        idle, busy = await connect(), await connect()
        assert (await idle.ask(get("/p")))[0] == 200
        await held(busy, app)
        draining = asyncio.create_task(listener.drain(LIMIT))
        assert await idle.rest() == b""
        assert not draining.done()
        app.go.set()
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        async with asyncio.timeout(LIMIT):
            await draining
        assert not listener.shared.connections


async def empty(listener: Listener) -> None:
    """Return when no connection is left."""
    async with asyncio.timeout(LIMIT):
        while listener.shared.connections:
            await anyio.lowlevel.checkpoint()


@pytest.mark.slow
async def test_an_answer_to_a_client_that_left_amid_its_next_request_touches_no_dead_socket(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HALF_CLOSED", 0.0)
    app = Mirror()
    async with listening(app) as (listener, connect):
        client = await connect()
        await held(client, app, b"no request\r\n\r\n")
        client.writer.transport.abort()
        await empty(listener)
        app.go.set()
        async with asyncio.timeout(LIMIT):
            while listener.shared.tasks:
                await anyio.lowlevel.checkpoint()
    assert not caplog.records
