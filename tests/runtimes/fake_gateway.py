"""A fake gateway: the admin socket of the contract and nothing behind it, for faults that a real gateway cannot show on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


class FakeGateway:
    """Serves `/members`, `/events` and the verbs. `say` sends an event; `chunked` picks the framing of replies."""

    def __init__(self, *, chunked: bool = True) -> None:
        self.members: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self._chunked = chunked
        self._listeners: list[asyncio.StreamWriter] = []
        self.listening = asyncio.Event()
        self.coming: list[str] = []
        """Servers of its file that it knows when it has read it again."""
        self.start: dict[str, Any] = {"phase": "running", "pid": 77}
        """What a member is after it was asked to start."""
        self.sequence: int | None = None
        self.pid = 1
        """Another number: another gateway."""
        self.refusing = False
        """It starts nothing."""
        self.on_stop: Callable[[], None] = lambda: None

    def put(self, name: str, phase: str = "running", pid: int | None = 1, **more: Any) -> None:
        self.members[name] = {"name": name, "kind": "stdio", "phase": phase, "pid": pid, **more}

    def document(self) -> dict[str, Any]:
        return {"pid": self.pid, "version": "0", "sequence": self.sequence, "members": list(self.members.values())}

    async def say(self, event: str, data: dict[str, Any]) -> None:
        for writer in self._listeners:
            self._send(writer, f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
            await writer.drain()

    async def hang_up(self) -> None:
        for writer in self._listeners:
            writer.close()
        self._listeners.clear()
        self.listening.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        self.asked.append(f"{method} {path}")
        status = 200
        if path == "/reload":
            while self.coming:
                self.put(self.coming.pop(), phase="held", pid=None)
        if path.endswith("/start"):
            name = path.split("/")[2]
            status = 200 if name in self.members else 404
            if self.refusing:
                status = 503
            elif name in self.members:
                self.members[name] |= self.start
        if path.endswith("/nudge"):
            status = 200 if path.split("/")[2] in self.members else 404
        if path.endswith("/stop"):
            self.members[path.split("/")[2]] |= {"phase": "held", "pid": None}
            self.on_stop()
        framing = "Transfer-Encoding: chunked" if self._chunked else "X-Framing: close"
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{framing}\r\nConnection: close\r\n\r\n".encode())
        if path == "/events":
            self._listeners.append(writer)
            self._send(writer, f"event: snapshot\ndata: {json.dumps(self.document())}\n\n".encode())
            self.listening.set()
            return
        self._send(writer, json.dumps(self.document()).encode())
        if self._chunked:
            writer.write(b"0\r\n\r\n")
        writer.close()

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self._chunked else data)


@asynccontextmanager
async def fake_gateway(directory: Path, *, chunked: bool = True) -> AsyncGenerator[FakeGateway]:
    """One that listens on the admin socket of this state directory."""
    gateway = FakeGateway(chunked=chunked)
    (directory / "proxy").mkdir(exist_ok=True)
    socket = directory / "proxy" / "admin.sock"
    socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(gateway.serve, str(socket))
    try:
        yield gateway
    finally:
        await gateway.hang_up()
        server.close()
        socket.unlink(missing_ok=True)
