"""A socket that passes bytes to the engine and back, and can be cut, refuse a call, speak TLS, and tell what was called."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

ENGINE = "/var/run/docker.sock"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n" + b'{"message":"forbidden"}'
_CALL = re.compile(rb"(?P<method>[A-Z]+) (?:/v[\d.]+)?(?P<path>/[^ ?]+)[^ ]* HTTP/1.1\r\n")


class Relay:
    """Passes bytes to the engine and back; `cut` drops every connection and listens no more."""

    def __init__(self) -> None:
        self.refuse: bytes | None = None
        self.calls: set[str] = set()
        """Method and path of every call, without its query."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def listen_tls(self, context: ssl.SSLContext) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            if not writer.transport.is_closing():
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(ENGINE)
        self._writers |= {writer, engine_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pipe(reader, engine_writer, writer), self._pipe(engine_reader, writer, None))
        self._writers -= {writer, engine_writer}

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter | None) -> None:
        while data := await source.read(65536):
            if back is not None and (call := _CALL.match(data)):
                self.calls.add(f"{call['method'].decode()} {call['path'].decode()}")
            if back is not None and self.refuse is not None and data.startswith(self.refuse):
                back.write(REFUSAL)
                await back.drain()
                continue
            sink.write(data)
            await sink.drain()
        sink.close()


@asynccontextmanager
async def relay() -> AsyncGenerator[Relay]:
    between = Relay()
    try:
        yield between
    finally:
        await between.cut()
