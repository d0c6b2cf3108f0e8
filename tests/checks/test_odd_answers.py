"""Odd answers of a generated kind: for each the check gives a named cause in one line, the same each time, and never breaks."""

from __future__ import annotations

import pytest

from mcpwatch.checks import probe
from mcpwatch.model.probe import Outcome, ProbeResult, Transport
from tests.servers.scripted import GOOD, HELLO, Scripted, scripted

pytestmark = pytest.mark.anyio

JSON = b"Content-Type: application/json\r\n"
EVENTS = b"Content-Type: text/event-stream\r\n"
HELLO_1 = HELLO.replace("{id}", "1").encode()
WRONG = (Outcome.FAILURE, Outcome.DEGRADED)


def said(body: bytes, head: bytes = JSON, first: bytes = b"HTTP/1.1 200 OK\r\n", length: int | None = None) -> bytes:
    return first + head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", head: bytes = JSON) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n" + body + end


HTTP: dict[str, tuple[bytes, str]] = {
    "redirect to itself": (b"HTTP/1.1 307 Moved\r\nLocation: /mcp\r\nContent-Length: 0\r\n\r\n", "redirect"),
    "redirect without a place": (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "redirect"),
    "redirect with an odd place": (b"HTTP/1.1 302 Found\r\nLocation: ht!tp://[::bad\r\nContent-Length: 0\r\n\r\n", "redirect"),
    "200 and nothing": (said(b""), "bad_reply"),
    "200 and a space": (said(b" "), "bad_reply"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "no_reply"),
    "206": (said(HELLO_1, first=b"HTTP/1.1 206 Partial Content\r\n"), "no_reply"),
    "no type": (said(HELLO_1, b""), "wrong_type"),
    "text": (said(HELLO_1, b"Content-Type: text/plain\r\n"), "wrong_type"),
    "an odd type": (said(HELLO_1, b"Content-Type: ;;;\r\n"), "wrong_type"),
    "a page": (said(b"<html><title>hi</title></html>", b"Content-Type: text/html\r\n"), "wrong_type"),
    "another API": (said(b'{"status":"ok"}'), "no_reply"),
    "null": (said(b"null"), "bad_reply"),
    "an empty array": (said(b"[]"), "no_reply"),
    "chunks without an end": (chunked(HELLO_1, end=b"") + b"zz\r\n", "bad_reply"),
    "a chunk of no size": (b"HTTP/1.1 200 OK\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}", "bad_reply"),
    "another transfer coding": (b"HTTP/1.1 200 OK\r\n" + JSON + b"Transfer-Encoding: gzip\r\n\r\n", "bad_reply"),
    "two lengths": (b"HTTP/1.1 200 OK\r\n" + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "bad_reply"),
    "a length that is none": (b"HTTP/1.1 200 OK\r\n" + JSON + b"Content-Length: x\r\n\r\n{}", "bad_reply"),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "bad_reply"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "bad_reply"),
    "status 999": (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "http_status"),
    "an unknown coding": (said(HELLO_1, JSON + b"Content-Encoding: br\r\n"), "bad_reply"),
    "no gzip": (said(HELLO_1, JSON + b"Content-Encoding: gzip\r\n"), "bad_reply"),
    "a session id with a tab": (said(HELLO_1, JSON + b"Mcp-Session-Id: a\tb\r\n"), "bad_reply"),
    "a session id of Latin-1": (said(HELLO_1, JSON + b"Mcp-Session-Id: \xe9\r\n"), "bad_reply"),
    "a session id without an end": (said(HELLO_1, JSON + b"Mcp-Session-Id: " + b"x" * 2000 + b"\r\n"), "bad_reply"),
    "UTF-16": (said(HELLO_1.decode().encode("utf-16")), "bad_reply"),
    "a stream of another event": (said(b"event: hello\ndata: {}\n\n", EVENTS), "no_reply"),
    "a stream of nothing": (said(b"", EVENTS), "no_reply"),
}
"""What initialize is answered with, and the symptom."""
FINE: dict[str, bytes] = {
    "HTTP/1.0 kept by its length": said(HELLO_1, first=b"HTTP/1.0 200 OK\r\n"),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + said(HELLO_1),
    "lines ended by CR alone": said(b"event: message\rdata: " + HELLO_1 + b"\r\r", EVENTS),
    "lines ended by CR LF": said(b"event: message\r\ndata: " + HELLO_1 + b"\r\n\r\n", EVENTS),
    "a type in capitals": said(HELLO_1, b"CONTENT-TYPE: APPLICATION/JSON; CHARSET=UTF-8\r\n"),
    "chunks of a byte": chunked(*(bytes([byte]) for byte in HELLO_1)),
    "a session id of all visible characters": said(HELLO_1, JSON + b"Mcp-Session-Id: " + bytes(range(0x21, 0x7F)) + b"\r\n"),
    "a keep-alive that lies": said(HELLO_1, JSON + b"Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n"),
}
"""Odd, and lawful."""
STREAMS: dict[str, tuple[bytes, str]] = {
    "an endpoint on another host": (b"event: endpoint\ndata: http://elsewhere.example/m\n\n", "bad_endpoint"),
    "an endpoint of another scheme": (b"event: endpoint\ndata: ftp://127.0.0.1/m\n\n", "bad_endpoint"),
    "an endpoint that is no URL": (b"event: endpoint\ndata: http://[::bad\n\n", "bad_endpoint"),
    "an endpoint with an odd port": (b"event: endpoint\ndata: http://127.0.0.1:99999/m\n\n", "bad_endpoint"),
    "an end before its endpoint": (b": bye\n\n", "cut@endpoint"),
    "a page in a stream": (b"<html></html>", "cut@endpoint"),
}
"""What comes on the stream of SSE, which then ends."""


async def twice(server: Scripted, path: str, wire: Transport) -> ProbeResult:
    """What two probes say alike."""
    async with scripted(server):
        first, second = [await probe(server.url(path), transport=wire, timeout=3) for _ in range(2)]
    assert (first.symptom_text, first.stage, first.message) == (second.symptom_text, second.stage, second.message)
    for result in (first, second):
        assert result.outcome is not Outcome.UNKNOWN, result
        assert "\n" not in result.message + result.said
        assert "prober broke" not in result.message
    return first


@pytest.mark.parametrize("name", HTTP)
async def test_each_odd_answer_to_initialize_is_named_the_same_each_time(name: str) -> None:
    raw, symptom = HTTP[name]
    result = await twice(
        Scripted(GOOD, {"initialize": raw, "GET": b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"}), "/mcp", "http"
    )
    assert result.outcome in WRONG, result
    assert result.symptom_text == symptom, result
    assert result.message


@pytest.mark.parametrize("name", FINE)
async def test_what_is_odd_and_lawful_is_taken(name: str) -> None:
    result = await twice(Scripted(GOOD, {"initialize": FINE[name]}), "/mcp", "http")
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.parametrize("name", STREAMS)
async def test_each_odd_stream_is_named_the_same_each_time(name: str) -> None:
    data, symptom = STREAMS[name]
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(data) + data
    result = await twice(Scripted({}, {"GET": raw, "POST": b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"}), "/sse", "sse")
    assert (result.outcome, result.symptom_text) == (Outcome.FAILURE, symptom), result


@pytest.mark.sample(4)
@pytest.mark.parametrize("statuses", [tuple(range(at, at + 25)) for at in range(400, 600, 25)])
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_every_status_is_a_named_cause(path: str, statuses: tuple[int, ...]) -> None:
    for status in statuses:
        raw = b"HTTP/1.1 %d Odd\r\nContent-Length: 4\r\n\r\nwhy?" % status
        server = Scripted(GOOD, {"GET": raw, "POST": raw})
        async with scripted(server):
            result = await probe(server.url(path), transport="sse" if path == "/sse" else "http", timeout=3)
        assert (result.outcome, result.http_status) == (Outcome.FAILURE, status), result
        assert f"HTTP {status}" in result.message
        assert "why?" in result.message or result.symptom_text in ("era_mismatch", "session_lost", "redirect"), result
