"""A wrong token in a file is corrected there, and nothing else has to be done."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import free_port, running

pytestmark = pytest.mark.slow

HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "guarded", "version": "1"},
}
RESULTS: dict[str, Any] = {"initialize": HELLO, "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}}


class Guarded(BaseHTTPRequestHandler):
    """An MCP server that wants the right token."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = RESULTS.get(asked.get("method", ""))
        if self.headers.get("Authorization") != "Bearer right":
            self._say(401, b"who are you?", "text/plain")
        elif result is None:
            self._say(202, b"", "text/plain")
        else:
            self._say(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode(), "application/json")

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name above
        pass


@contextmanager
def guarded() -> Generator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_corrected_token_file_is_read_again_by_itself(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong\n", encoding="utf-8")
    with guarded() as port:
        fleet: dict[str, Any] = {
            "version": 1,
            "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{free_port()}"},
            "members": {"far": {"url": f"http://127.0.0.1:{port}/mcp", "transport": "http", "token_file": str(token)}},
            "defaults": {"check": {"interval": "1s", "timeout": "5s", "failure_threshold": 2}},
            "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
        }
        with running(tmp_path, fleet) as daemon:
            daemon.wait(lambda s: any(one["cause"] == "auth" for one in s["diagnoses"]), "the refused token", 60)
            token.write_text("right\n", encoding="utf-8")
            daemon.wait(lambda s: not s["diagnoses"] and s["routes"][0]["verdict"] == "healthy", "the right token", 60)
