"""A real gateway process for tests, and small raw clients of its wires that show every byte."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.parts import ROOT

LIMIT = 60.0
TLS = ssl.create_default_context()
"""Made once: httpx would make one for every client, 20 ms each."""
TINY: dict[str, Any] = {"command": sys.executable, "args": [str(ROOT / "tests" / "servers" / "tiny.py")]}
HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Gateway:
    """One running gateway; `url` is its base, `admin` a client of its admin socket."""

    def __init__(self, directory: Path, settings: dict[str, Any], *words: str) -> None:
        self.file = directory / "gateway.json"
        self.socket = directory / "admin.sock"
        self.logs = directory / "logs"
        self.write(settings)
        self.log = (directory / "log").open("wb")
        arguments = ["--config", str(self.file), "--admin", str(self.socket), "--log-dir", str(self.logs), *words]
        self.process = subprocess.Popen([sys.executable, "-m", "mcpwatch.gateway", *arguments], stderr=self.log, cwd=ROOT)
        self.url = ""

    def write(self, settings: dict[str, Any]) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"version": 1, "listen": "127.0.0.1:0"} | settings))
        fresh.replace(self.file)

    def admin(self, method: str, path: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(TLS, uds=str(self.socket)), timeout=LIMIT) as client:
            return client.request(method, f"http://admin{path}")

    def members(self) -> dict[str, dict[str, Any]]:
        return {member["name"]: member for member in self.admin("GET", "/members").json()["members"]}

    def wait(self, wanted: dict[str, str]) -> None:
        """Return when each named member is in its phase; hears of changes by the event stream."""
        with (
            httpx.Client(transport=httpx.HTTPTransport(TLS, uds=str(self.socket)), timeout=LIMIT) as client,
            client.stream("GET", "http://admin/events") as events,
        ):
            for line in events.iter_lines():
                if line.startswith("data:") and all(
                    self.members().get(name, {}).get("phase") == phase for name, phase in wanted.items()
                ):
                    return
        raise AssertionError("the gateway ended its event stream")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self.log.close()
        return code


@contextmanager
def gateway(settings: dict[str, Any], *words: str) -> Generator[Gateway]:
    """A gateway that serves; ended afterwards, whatever happens."""
    with tempfile.TemporaryDirectory() as directory:
        running = Gateway(Path(directory), settings, *words)
        try:
            running.url = f"http://{_answering(running)['listen']}"
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def _answering(running: Gateway) -> dict[str, Any]:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if running.process.poll() is not None:
            raise AssertionError(f"the gateway ended: {(running.file.parent / 'log').read_text()}")
        try:
            return running.admin("GET", "/members").json()
        except httpx.TransportError:
            time.sleep(0.01)
    raise AssertionError("the gateway does not answer")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> None:
    """Return when a process has ended, by its pidfd."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], LIMIT)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


def request(number: int | str, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, **({} if params is None else {"params": params})}


def call(number: int | str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    return request(number, "tools/call", {"name": tool, "arguments": arguments})


def text(answer: dict[str, Any]) -> Any:
    """What a tiny tool returned."""
    return json.loads(answer["result"]["content"][0]["text"])


class Sse:
    """A client on the legacy wire. `inbox` yields messages as they come."""

    def __init__(self, client: httpx.AsyncClient, lines: AsyncIterator[str], endpoint: str) -> None:
        self.client, self.endpoint = client, endpoint
        self._lines = lines

    async def next(self) -> dict[str, Any]:
        return json.loads(await self.raw())

    async def raw(self) -> str:
        with anyio.fail_after(LIMIT):
            async for line in self._lines:
                if line.startswith("data: "):
                    return line[6:]
        raise AssertionError("the stream ended")

    async def post(self, message: dict[str, Any] | bytes) -> httpx.Response:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.client.post(self.endpoint, content=body, headers={"content-type": "application/json"})

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert (await self.post(message)).status_code == 202
        return await self.next()

    async def hello(self, **capabilities: Any) -> dict[str, Any]:
        answer = await self.ask(request(0, "initialize", HELLO | {"capabilities": capabilities}))
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer


@asynccontextmanager
async def sse(url: str, headers: dict[str, str] | None = None) -> AsyncGenerator[Sse]:
    async with (
        httpx.AsyncClient(timeout=LIMIT, headers=headers, verify=TLS) as client,
        client.stream("GET", url) as response,
    ):
        assert response.status_code == 200, await response.aread()
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("data: "):
                yield Sse(client, lines, str(response.url.join(line[6:])))
                return


ACCEPT = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Http:
    """A client on Streamable HTTP."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client, self.url = client, url
        self.headers = dict(ACCEPT)

    async def post(self, message: dict[str, Any] | bytes) -> httpx.Response:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.client.post(self.url, content=body, headers=self.headers)

    async def hello(self, **capabilities: Any) -> httpx.Response:
        answer = await self.post(request(0, "initialize", HELLO | {"capabilities": capabilities}))
        if "mcp-session-id" in answer.headers:
            self.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer


@asynccontextmanager
async def http(url: str, headers: dict[str, str] | None = None) -> AsyncGenerator[Http]:
    async with httpx.AsyncClient(timeout=LIMIT, headers=headers, verify=TLS) as client:
        yield Http(client, url)


def messages(answer: httpx.Response) -> list[dict[str, Any]]:
    """The messages of a POST's answer, JSON or stream."""
    if answer.headers["content-type"].startswith("application/json"):
        return [answer.json()]
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
}


async def post_call(client: httpx.AsyncClient, url: str, params: dict[str, Any], number: int = 1) -> dict[str, Any]:
    """The answer to a `tools/call` of the stateless wire."""
    headers = ACCEPT | {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": params["name"]}
    body = request(number, "tools/call", params | {"_meta": META})
    return (await client.post(url, json=body, headers=headers)).json()
