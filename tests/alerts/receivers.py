"""A receiver of any HTTP notification, and one way to build each notifier towards it: what the contract suite drives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification, Reason, Severity
from mcpwatch.alerts.dispatch import Worker
from mcpwatch.alerts.ledger import AlertLedger
from mcpwatch.alerts.message import scrub
from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.clock import SystemClock
from mcpwatch.model.fact import Fact
from mcpwatch.model.time import WallTime
from mcpwatch.registry import find
from tests.alerts.stores import MemoryStore

SECRET = "s3cr3t-T0ken-42"
SOON = 30.0


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server that keeps what it is sent and answers as told, repeating a secret as some do. `hang` never answers; `deaf`
    closes without an answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    hang: bool = False
    deaf: bool = False
    port: int = 0
    requests: list[Request] = field(default_factory=list[Request])
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def received(self, count: int) -> list[Request]:
        async with asyncio.timeout(SOON):
            while len(self.requests) < count:
                self.came.clear()
                await self.came.wait()
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                first, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(Request(first.split(" ")[1], headers, body))
                self.came.set()
                if self.hang:
                    await asyncio.Event().wait()
                if self.deaf:
                    return
                extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
                said = f"no: {SECRET}"
                writer.write(f"HTTP/1.1 {self.status} Said\r\n{extra}Content-Length: {len(said)}\r\n\r\n{said}".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except asyncio.IncompleteReadError:
        return b""


@asynccontextmanager
async def receiving(**how: Any) -> AsyncGenerator[Receiver]:
    receiver = Receiver(**how)
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await receiver.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


HTTP: dict[str, Callable[[str], dict[str, Any]]] = {
    "apprise": lambda url: {"url": url.replace("http://", f"json://user:{SECRET}@") + f"/{SECRET}"},
    "alertmanager": lambda url: {"url": url, "token": SECRET},
    "webhook": lambda url: {"url": f"{url}/hook/{SECRET}", "secret": SECRET, "headers": {"Authorization": f"Bearer {SECRET}"}},
    "pagerduty": lambda url: {"url": url, "routing_key": SECRET},
}
"""The kinds that speak HTTP, and what a user writes to reach a URL."""


def program(directory: Path, code: str) -> dict[str, Any]:
    """What a user writes for `exec`: a Python program of ours."""
    script = directory / "receiver.py"
    script.write_text(code, encoding="utf-8")
    return {"command": [sys.executable, str(script)], "env": {"TOKEN": SECRET}}


def worker(kind: str, written: dict[str, Any], timeout: float = 5.0, told: list[Fact] | None = None) -> Worker:
    """A worker for a receiver called `ops`, as the service makes it."""
    found = find(NOTIFIERS, kind)
    assert found is not None
    spec = found.spec.model_validate({"kind": kind, "timeout": timeout, **written})
    assert SECRET not in repr(spec)
    facts = told if told is not None else []
    clock = SystemClock()
    return Worker(
        "ops",
        found.make(spec),
        timeout,
        ledger=AlertLedger(MemoryStore(), clock),
        firing=lambda _: (),
        clock=clock,
        publish=facts.append,
        hide=lambda text: scrub(text, (SECRET,)),
    )


def notification(state: AlertState = AlertState.FIRING, **item: Any) -> Notification:
    """An ordinary notification about one member."""
    one = AlertSnapshot(
        "down:fetch",
        "down",
        "fetch",
        Severity.CRITICAL,
        state,
        since=WallTime(1_000_000.0),
        member="fetch",
        resolved_at=WallTime(1_000_090.0) if state is AlertState.RESOLVED else None,
        why="exited with code 1",
        cause="member_down",
        cause_text="the member is down",
        tail=("Traceback", 'KeyError: "x"'),
        tried=("restart: did not help (2.5 s)",),
    )
    reason = Reason.RESOLVED if state is AlertState.RESOLVED else Reason.FIRST
    made = AlertSnapshot(**{name: item.get(name, getattr(one, name)) for name in AlertSnapshot.__slots__})
    return Notification("0123456789abcdef", "ops", reason, state, "route/cause=member_down", WallTime(1_000_060.0), (made,))
