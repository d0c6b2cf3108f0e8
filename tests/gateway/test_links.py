"""Links to upstreams by URL, on an upstream that answers what a test says and keeps every byte it was sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest

from mcpwatch.gateway.http.http_exchange import HttpExchange
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.passthrough import relay
from mcpwatch.gateway.session.passthrough_link import Passthrough
from mcpwatch.gateway.upstream import streamable_link
from mcpwatch.gateway.upstream.detect import detect
from mcpwatch.gateway.upstream.link import Ends, LinkFailed
from mcpwatch.gateway.upstream.remote import SseLink
from mcpwatch.gateway.upstream.stateless_link import StatelessLink
from mcpwatch.gateway.upstream.streamable_link import HttpLink
from mcpwatch.http_client import dial
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import Contexts
from tests.gateway.raw import Mirror, listening, post

pytestmark = pytest.mark.anyio
LIMIT = 30.0
Script = Callable[[bytes, bytes], Awaitable[bytes | None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(body: bytes, media: str = "application/json", *lines: str) -> bytes:
    return (
        "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {media}", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body
    )


@dataclass
class Upstream:
    """`script` gets a head and a body and says what to send; `None` leaves the client without an answer."""

    script: Script
    port: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    open: int = 0
    hang_up: bool = False
    """Close after each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                sent = await self.script(head, await reader.readexactly(int(length or b"0")))
                if sent is not None:
                    writer.write(sent)
                if self.hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def left(self) -> None:
        """Return when every client has closed its connection."""
        async with asyncio.timeout(LIMIT):
            while self.open:
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def upstream(script: Script) -> AsyncGenerator[Upstream]:
    running = Upstream(script)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()


class Came:
    """Where a link puts what comes."""

    def __init__(self, *, batched: bool = False) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.lost: list[str] = []
        self.ends = Ends(self._take, self._gone, lambda _: None, lambda _, __: None, lambda: batched)

    def _take(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        self.messages.put_nowait(json.loads(data))

    def _gone(self, reason: str, exit_: object, read: object) -> None:
        self.lost.append(reason)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT):
            return await self.messages.get()


def asking(method: str, number: int = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {}}).encode()


async def echo(head: bytes, body: bytes) -> bytes:
    return answer(json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": {}}).encode())


@pytest.mark.parametrize("method", ["x\r\nX-Evil: 1\r\n\r\nGET /admin HTTP/1.1", "x\n", "x\0", "", "x y", "é"])
async def test_a_method_that_is_no_header_value_never_reaches_a_stateless_upstream(method: str) -> None:
    async with upstream(echo) as server:
        came = Came()
        link = StatelessLink(server.url, (("Authorization", "secret"),), came.ends)
        link.send(asking(method), 1)
        assert (await came.next())["error"]["code"] == -32601
        link.send(asking("x-own/.$name_2", 2), 2)
        assert await came.next() == {"jsonrpc": "2.0", "id": 2, "result": {}}
        await link.close()
        assert [b"Mcp-Method: x-own/.$name_2\r\n" in head for head in server.heads] == [True]
        assert not came.lost


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
async def test_no_part_of_a_head_may_begin_another_line(mark: str) -> None:
    async with upstream(echo) as server:
        client = HttpClient(server.url)
        for method, headers in ((f"GET{mark}", {}), ("GET", {f"X{mark}": "1"}), ("GET", {"X": f"1{mark}"})):
            with pytest.raises(HttpFailed, match="line break"):
                await client.request(method, server.url, headers)
        with pytest.raises(HttpFailed, match="line break"):
            await HttpClient(server.url, (("X", f"1{mark}"),)).request("GET", server.url, {})
        assert not server.connections


MANY = json.dumps([{"jsonrpc": "2.0", "method": "notifications/x"}] * 101).encode()


@pytest.mark.parametrize("body", [b"[]", b"[nonsense", b"[1,]", MANY, b"[[]]"])
@pytest.mark.parametrize("media", ["application/json", "text/event-stream"])
async def test_a_request_that_gets_no_batch_that_can_be_read_is_refused(body: bytes, media: str) -> None:
    text = body if media == "application/json" else b"data: " + body + b"\n\n"

    async def script(head: bytes, sent: bytes) -> bytes:
        return answer(text, media)

    async with upstream(script) as server:
        came = Came(batched=True)
        link = HttpLink(server.url, (), came.ends)
        link.send(asking("tools/list"), 1)
        refused = await came.next()
        assert (refused["id"], refused["error"]["code"]) == (1, message.MEMBER_DOWN)
        await link.close()


async def test_a_request_is_refused_when_its_answer_breaks_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise ValueError("broken")

    async with upstream(echo) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        monkeypatch.setattr(link, "_hear", broken)
        link.send(asking("tools/list"), 1)
        refused = await came.next()
        assert (refused["id"], refused["error"]["code"]) == (1, message.MEMBER_DOWN)
        await link.close()


async def test_an_answer_that_is_given_up_leaves_no_socket() -> None:
    async def script(head: bytes, body: bytes) -> bytes:
        return answer(b"{}")[:-1]

    async with upstream(script) as server:
        response = await HttpClient(server.url).request("GET", server.url, {})
        reading = asyncio.create_task(response.read())
        await anyio.lowlevel.checkpoint()
        reading.cancel()
        await server.left()


async def test_a_link_that_closes_leaves_no_stream_open() -> None:
    async def script(head: bytes, body: bytes) -> bytes | None:
        if head.startswith(b"GET"):
            return b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"method":"notifications/x"}\n\n'
        if head.startswith(b"DELETE"):
            return answer(b"")
        greeted = {"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": {"protocolVersion": "2025-11-25"}}
        return answer(json.dumps(greeted).encode(), "application/json", "Mcp-Session-Id: s")

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        link.send(asking("initialize"), 1)
        assert (await came.next())["id"] == 1
        assert (await came.next())["method"] == "notifications/x"
        await link.close()
        await server.left()


async def test_a_kept_connection_is_not_lost_when_its_answer_is_closed_after_the_end() -> None:
    async with upstream(echo) as server:
        client = HttpClient(server.url)
        for number in range(3):
            response = await client.request("POST", server.url, {}, asking("x", number))
            assert json.loads(await response.read())["id"] == number
            response.close()
        assert server.connections == 1
        client.close()


async def test_a_notification_that_is_never_taken_does_not_hold_up_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable_link, "POST_LIMIT", 0.05)

    async def script(head: bytes, body: bytes) -> bytes | None:
        return await echo(head, body) if b'"id"' in body else None

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        link.send(message.notification("notifications/x"), None)
        link.send(asking("tools/list"), 1)
        assert await came.next() == {"jsonrpc": "2.0", "id": 1, "result": {}}
        await link.close()


async def test_authorities_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def counted(cafile: str | None = None) -> ssl.SSLContext:
        made.append(make(cafile=cafile))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    monkeypatch.setattr(dial, "_contexts", Contexts())

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        for _ in range(2):
            with pytest.raises(HttpFailed, match="TLS handshake"):
                await HttpClient("").request("GET", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {})
    assert len(made) == 1


MOVED = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://elsewhere.example/mcp?token=secret\r\nContent-Length: 0\r\n\r\n"
LOGIN = b"HTTP/1.1 302 Found\r\nLocation: https://sso.example/login?from=mcp\r\nContent-Length: 0\r\n\r\n"
ZIPPED = answer(b"\x1f\x8b\x08", "application/json", "Content-Encoding: zstd")
ZIPPED_STREAM = answer(b"\x1f\x8b\x08", "text/event-stream", "Content-Encoding: br")


def deflated(data: bytes) -> bytes:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return raw.compress(data) + raw.flush()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: answer(gzip.compress(body), "application/json", "Content-Encoding: gzip"),
    "deflate": lambda body: answer(zlib.compress(body), "application/json", "Content-Encoding: Deflate"),
    "raw deflate": lambda body: answer(deflated(body), "application/json", "Content-Encoding: deflate"),
    "a byte order mark": lambda body: answer(b"\xef\xbb\xbf" + body),
    "a byte order mark in an event": lambda body: answer(b"\n\ndata: \xef\xbb\xbf" + body + b"\n\n", "text/event-stream"),
    "an array of one": lambda body: answer(b" [" + body + b"]"),
    "an array of one in an event": lambda body: answer(b"data: [" + body + b"]\n\n", "text/event-stream"),
}
"""Forms of an answer that the checks read too."""


@pytest.mark.parametrize("form", FORMS)
async def test_what_the_checks_read_the_gateway_reads_too(form: str) -> None:
    async def script(head: bytes, body: bytes) -> bytes:
        return FORMS[form](json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": {"tools": []}}).encode())

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        link.send(asking("tools/list"), 1)
        assert await came.next() == {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}
        await link.close()
        assert await detect(server.url, ()) == "http"


@pytest.mark.parametrize("cut", [1, 30])
async def test_a_body_that_is_not_compressed_as_it_says_is_named(cut: int) -> None:
    async def script(head: bytes, body: bytes) -> bytes:
        return answer(b"nope" * cut, "application/json", "Content-Encoding: gzip")

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        link.send(asking("tools/list"), 1)
        assert "not the gzip it claims" in (await came.next())["error"]["message"]
        await link.close()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (MOVED, "upstream answered 308 and redirects to 'https://elsewhere.example/mcp'; write that URL into the configuration"),
        (LOGIN, "upstream answered 302 and redirects to 'https://sso.example/login', for now: to log in there?"),
        (ZIPPED, "upstream answered compressed ('zstd') although it was asked not to; switch compression off there"),
        (ZIPPED_STREAM, "upstream answered compressed ('br') although it was asked not to; switch compression off there"),
    ],
)
@pytest.mark.parametrize("kind", [HttpLink, StatelessLink])
async def test_a_redirect_and_a_compressed_answer_are_named_in_the_error(kind: type[HttpLink], sent: bytes, said: str) -> None:
    async def script(head: bytes, body: bytes) -> bytes:
        assert b"\r\nAccept-Encoding: identity\r\n" in head
        return sent

    async with upstream(script) as server:
        came = Came()
        link = kind(server.url, (), came.ends)
        assert link.send(asking("tools/list"), 1)
        error = (await came.next())["error"]
        assert error["message"].startswith(said)
        assert ("possiblyExecuted" in error["data"]) == (sent not in (MOVED, LOGIN))
        await link.close()
        opening = SseLink(server.url, (), came.ends)
        with pytest.raises(LinkFailed, match=re.escape(said)):
            await opening.open()
        with pytest.raises(LinkFailed, match=re.escape(said)):
            await detect(server.url, ())


async def test_a_passed_on_request_that_may_have_been_executed_is_not_said_to_be_worth_another_try() -> None:
    async def script(head: bytes, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{"

    async with upstream(script) as server:
        server.hang_up = True
        passing = Passthrough("far", server.url, ())

        async def serve(turn: HttpExchange) -> None:
            await relay(McpRequest(turn, cast("Any", None), "", turn.headers, []), passing, turn.body)

        app = Mirror()
        app.serve = serve
        async with listening(app) as (_, connect):
            status, headers, body = await (await connect()).ask(post("/relay", asking("tools/call", 7)))
        assert (status, "retry-after" in headers) == (502, False)
        told = json.loads(body)
        assert told["id"] == 7
        assert told["error"]["data"] == {
            "member": "far",
            "reason": "the connection was closed in the middle of its answer",
            "possiblyExecuted": True,
        }
        passing.client.close()


@pytest.mark.parametrize("body", [b'{"error": "invalid_token"}', b"{}", b"[]", b'"no"'])
@pytest.mark.parametrize("status", [b"401 Unauthorized", b"503 Service Unavailable", b"200 OK"])
async def test_a_body_that_is_no_message_is_no_answer_and_the_callers_error_has_the_status(status: bytes, body: bytes) -> None:
    async def script(head: bytes, sent: bytes) -> bytes:
        return answer(body).replace(b"200 OK", status, 1)

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        assert link.send(asking("tools/list"), 7)
        error = await came.next()
        assert error["id"] == 7
        assert error["error"]["message"].startswith(f"upstream answered {status[:3].decode()} application/json")
        await link.close()
