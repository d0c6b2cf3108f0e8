"""A server by URL that has one thread: while it works for one client it answers nobody, and is no less alive."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest

from mcpwatch.gateway.serve.fleet import show
from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream import sign_of_life
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.runtimes.hosted_children import read_child
from tests.gateway.inside import served
from tests.gateway.program import call, http, messages

pytestmark = pytest.mark.anyio
LIMIT = 30.0


class OneThread(HTTPServer):
    """Answers one request after the other; a call when `done` is set, and says in `begun` that there is one."""

    def __init__(self) -> None:
        self.begun, self.done = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked meanwhile did not wait."""


class Handler(BaseHTTPRequestHandler):
    """One request on a connection: HTTP/1.0."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""

    def do_GET(self) -> None:
        self.say(405, b"")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "id" not in asked:
            self.say(202, b"")
            return
        if asked["method"] == "tools/call":
            one = cast("OneThread", self.server)
            one.begun.set()
            one.done.wait(LIMIT)
        result: dict[str, Any] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "s", "version": "1"},
        }
        self.say(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode())

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[OneThread]:
    running = OneThread()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        running.done.set()
        running.shutdown()
        thread.join(LIMIT)
        running.server_close()


async def test_a_long_call_of_one_session_is_life_for_every_connection_to_its_server(
    server: OneThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    member = ServedMember(ServerSettings("one", url=url, transport="http"), ServingLimits(), None, lambda _: None)
    async with served(member) as base, http(f"{base}/one/mcp") as one, http(f"{base}/one/mcp") as idle:
        await one.hello()
        await idle.hello()
        calling = asyncio.create_task(one.post(call(1, "long")))
        assert await asyncio.to_thread(server.begun.wait, LIMIT)
        waits = read_child(show(member)).served["oldest_call"]
        assert 0.0 <= waits < LIMIT
        for name, value in {"TICK": 0.02, "PING_EVERY": 0.02, "PING_LIMIT": 0.02}.items():
            monkeypatch.setattr(sign_of_life, name, value)
        await asyncio.sleep(1.5)  # the look of each connection that began before it was made quicker, and a score of quick ones
        server.done.set()
        assert "result" in messages(await asyncio.wait_for(calling, LIMIT))[-1]
        assert "result" in messages(await idle.post(call(2, "short")))[-1]
        assert {(upstream.generation, upstream.phase) for upstream in member.upstreams} == {(1, UpstreamPhase.RUNNING)}
        assert "oldest_call" not in read_child(show(member)).served
