"""One server, spoken to directly on stdio or through a gateway on each wire: raw messages in, raw messages out."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx

LIMIT = 60.0
"""Seconds that any one answer may take on a busy machine."""
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
HELLO = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}'
)
DONE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
DISCOVER = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": META}}).encode()
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Channel(Protocol):
    """A way to a server."""

    def ask(self, sent: bytes) -> list[bytes]:
        """What came for a request: its own notifications, then its answer."""
        ...

    def tell(self, sent: bytes) -> None:
        """Send a notification."""
        ...


def is_answer(raw: bytes) -> bool:
    """Whether a message is a result or an error."""
    return "method" not in json.loads(raw)


def of_a_request(raw: bytes) -> bool:
    """Whether a message belongs to the request at hand: all but changes that a server tells everybody of when it likes."""
    return not str(json.loads(raw).get("method", "")).endswith("/list_changed")


class Stdio:
    """The server itself."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._came: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._came.put(line.strip())

    def ask(self, sent: bytes) -> list[bytes]:
        self.tell(sent)
        return collected(self._came)

    def tell(self, sent: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(sent + b"\n")
        self._process.stdin.flush()


def collected(came: queue.Queue[bytes]) -> list[bytes]:
    """Messages up to the answer."""
    found: list[bytes] = []
    while True:
        raw = came.get(timeout=LIMIT)
        found += [raw] if of_a_request(raw) else []
        if is_answer(raw):
            return found


@contextmanager
def stdio(spec: dict[str, Any], hello: bytes = HELLO) -> Generator[tuple[Stdio, bytes]]:
    """The server as a process of its own, greeted; and its answer to that."""
    command = [spec["command"], *spec.get("args", [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=spec.get("cwd")
    )
    try:
        channel = Stdio(process)
        answer = channel.ask(hello)[-1]
        if hello == HELLO:
            channel.tell(DONE)
        yield channel, answer
    finally:
        process.kill()
        process.wait(LIMIT)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class Sse:
    """Through a gateway, on the legacy wire."""

    def __init__(self, client: httpx.Client, lines: Iterator[str], url: str, endpoint: str) -> None:
        self._client, self._url = client, httpx.URL(url).join(endpoint)
        self._came: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterator[str]) -> None:
        try:
            for line in lines:
                if line.startswith("data: "):
                    self._came.put(line[6:].encode())
        except (httpx.HTTPError, httpx.StreamError):
            return

    def ask(self, sent: bytes) -> list[bytes]:
        self.tell(sent)
        return collected(self._came)

    def tell(self, sent: bytes) -> None:
        answer = self._client.post(self._url, content=sent, headers=JSON)
        assert answer.status_code == 202, answer.text


@contextmanager
def sse(url: str) -> Generator[Sse]:
    """A greeted session on the legacy wire."""
    with httpx.Client(timeout=LIMIT) as client, client.stream("GET", f"{url}/sse") as response:
        lines = _lines(response)
        endpoint = next(line[6:] for line in lines if line.startswith("data: "))
        channel = Sse(client, lines, str(response.url), endpoint)
        channel.ask(HELLO)
        channel.tell(DONE)
        yield channel


def _lines(response: httpx.Response) -> Iterator[str]:
    """Lines by line feed alone: `iter_lines` also cuts at U+2028, which a message may hold."""
    rest = b""
    for part in response.iter_raw():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode()


class Http:
    """Through a gateway, by POSTs: in a session, or each in the envelope of the stateless wire."""

    def __init__(self, client: httpx.Client, url: str, *, stateless: bool) -> None:
        self._client, self._url, self._stateless = client, url, stateless
        self.session: dict[str, str] = {}

    def ask(self, sent: bytes) -> list[bytes]:
        answer = self._post(sent)
        if answer.headers["content-type"].startswith("application/json"):
            return [answer.content]
        found = [line[6:].rstrip(b"\r") for line in answer.content.split(b"\n") if line.startswith(b"data: ")]
        return [raw for raw in found if of_a_request(raw)]

    def tell(self, sent: bytes) -> None:
        assert self._post(sent).status_code == 202

    def _post(self, sent: bytes) -> httpx.Response:
        headers = JSON | self.session
        if self._stateless:
            body = json.loads(sent)
            headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": body["method"]}
            params = body.get("params", {})
            named = params.get("name", params.get("uri"))
            if body["method"] in {"tools/call", "prompts/get", "resources/read"} and named is not None:
                headers["mcp-name"] = f"=?base64?{base64.b64encode(named.encode()).decode()}?="
        answer = self._client.post(self._url, content=sent, headers=headers)
        if "mcp-session-id" in answer.headers:
            self.session = {"mcp-session-id": answer.headers["mcp-session-id"]}
        return answer


@contextmanager
def http(url: str, *, stateless: bool = False) -> Generator[Http]:
    """A greeted session on Streamable HTTP, or the stateless wire."""
    with httpx.Client(timeout=LIMIT) as client:
        channel = Http(client, f"{url}/mcp", stateless=stateless)
        if not stateless:
            channel.ask(HELLO)
            channel.tell(DONE)
        yield channel
        if channel.session:
            client.delete(f"{url}/mcp", headers=channel.session)
