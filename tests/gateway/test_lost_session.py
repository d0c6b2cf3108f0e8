"""An upstream that does not know our session any more says so in many ways; what is no such word is passed on as it is."""

from __future__ import annotations

import json

import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream.lost_session import WORDS_MAX, forgets
from mcpwatch.gateway.upstream.streamable_link import HttpLink
from tests.gateway.test_links import Came, answer, asking, upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def error(said: str, code: int = -32000) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "error": {"code": code, "message": said}, "id": None}).encode()


LOST = [
    (404, b""),
    (404, error("Session not found", -32001)),
    (410, b"Session expired"),
    (400, error("Bad Request: No valid session ID provided")),
    (400, error("Bad Request: No valid session ID provided", -32600)),
    (400, error("Session not found", -32001)),
    (400, error("Bad Request: Server not initialized")),
    (400, b"Invalid session ID\n"),
    (400, b'{"error": "Unknown Mcp-Session-Id"}'),
    (400, error("Session s1 not found")),
    (401, b"Unauthorized: Session not found"),
]
NOT_LOST = [
    (400, error("Invalid session: no browser has that name", -32602)),
    (400, error("Session not found in the shop; call open_basket first")),
    (400, error("Bad Request: Unsupported protocol version")),
    (400, error("Session not found", -32602)),
    (400, b"Session not found".ljust(WORDS_MAX + 1)),
    (400, b"[" * 2000),
    (400, b'["Session not found"]'),
    (401, b"Session expired"),
    (403, b"Session not found"),
    (500, error("Session not found")),
]


@pytest.mark.parametrize(("status", "body"), LOST)
@pytest.mark.parametrize("asked", ["request", "notification first"])
async def test_a_session_that_an_upstream_lost_is_made_again_and_what_it_refused_is_sent_again(
    status: int, body: bytes, asked: str
) -> None:
    known, taken = ["s1"], list[str]()

    async def script(head: bytes, sent: bytes) -> bytes:
        if head.startswith((b"GET", b"DELETE")):
            return answer(b"").replace(b"200 OK", b"405 No", 1)
        method = json.loads(sent)["method"]
        if method == "initialize":
            greeted = {"jsonrpc": "2.0", "id": json.loads(sent)["id"], "result": {"protocolVersion": "2025-06-18"}}
            return answer(json.dumps(greeted).encode(), "application/json", f"Mcp-Session-Id: {known[-1]}")
        if f"mcp-session-id: {known[-1]}\r\n".encode() not in head.lower():
            return answer(body).replace(b"200 OK", b"%d No" % status, 1)
        taken.append(method)
        return answer(json.dumps({"jsonrpc": "2.0", "id": json.loads(sent).get("id"), "result": {}}).encode())

    async with upstream(script) as server:
        came = Came()
        link = HttpLink(server.url, (), came.ends)
        link.send(asking("initialize"), 1)
        assert (await came.next())["id"] == 1
        known.append("s2")
        if asked != "request":
            link.send(message.notification("notifications/x"), None)
        for number in (2, 3):
            link.send(asking("tools/call", number), number)
            assert await came.next() == {"jsonrpc": "2.0", "id": number, "result": {}}
        assert taken == ["notifications/initialized", *(["notifications/x"] if asked != "request" else []), *["tools/call"] * 2]
        assert not came.lost
        await link.close()


@pytest.mark.parametrize(("status", "body"), LOST)
def test_a_refusal_of_a_session_is_known_by_its_status_or_its_words(status: int, body: bytes) -> None:
    assert forgets(status, body, "s1")


@pytest.mark.parametrize(("status", "body"), NOT_LOST)
def test_what_a_tool_a_login_or_a_failure_says_of_sessions_costs_no_session(status: int, body: bytes) -> None:
    assert not forgets(status, body, "s1")
