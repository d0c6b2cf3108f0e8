"""Servers by TLS that do one thing each, by the path that is asked for, and peers that fail a handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LARGE = bytes(range(256)) * 12 * 1024
"""3 MiB."""


@dataclass(frozen=True)
class Files:
    """PEM files: an authority, the server's certificate by it, that of a client, and those of strangers."""

    where: Path
    names: tuple[str, ...] = ("ca", "server", "misnamed", "client", "stranger", "unknown")

    def __getitem__(self, name: str) -> str:
        return str(self.where / f"{name}.pem")


def make(where: Path) -> Files:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(where / "ca.pem"))
    for name, host, by in (
        ("server", "127.0.0.1", authority), ("misnamed", "elsewhere.test", authority), ("client", "me", authority),
        ("stranger", "me", other), ("unknown", "127.0.0.1", other),
    ):  # fmt: skip
        by.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(str(where / f"{name}.pem"))
    return Files(where)


def context(files: Files, certificate: str = "server", *, wants_client: bool = False) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files[certificate])
    if wants_client:
        made.load_verify_locations(cafile=files["ca"])
        made.verify_mode = ssl.CERT_REQUIRED
    return made


@dataclass
class Seen:
    """What a server saw."""

    connections: int = 0
    requests: list[str] = field(default_factory=list[str])
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection was closed by its client."""


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, tuple[bytes, str]] = {
    "/whole": (OK + b"Content-Length: 5\r\n\r\nhello", "keep"),
    "/chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "keep"),
    "/large": (OK + b"Content-Length: %d\r\n\r\n%b" % (len(LARGE), LARGE), "keep"),
    "/endless": (OK + b"Connection: close\r\n\r\nhello", "close"),
    "/endless-hard": (OK + b"Connection: close\r\n\r\nhello", "abort"),
    "/cut": (OK + b"Content-Length: 100\r\n\r\nhello", "close"),
    "/cut-hard": (OK + b"Content-Length: 100\r\n\r\nhello", "abort"),
    "/cut-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nhello", "close"),
    "/cut-chunk-hard": (OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nhello", "abort"),
    "/cut-head": (OK + b"Content-Le", "close"),
    "/nothing": (b"", "close"),
    "/nothing-hard": (b"", "abort"),
    "/silent": (b"", "keep"),
    "/early": (b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!", "close"),
    "/early-keep": (OK + b"Content-Length: 5\r\n\r\nearly", "keep"),
}
"""What is answered to each path, as soon as the head is there, and what becomes of the connection then."""


def answering(seen: Seen) -> Peer:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                seen.requests.append(path)
                data, then = ANSWERS[path]
                writer.write(data)
                await writer.drain()
                if then == "abort":
                    writer.transport.abort()
                    break
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                if then == "close":
                    break
        seen.ended.set()
        writer.close()

    return serve


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what comes and says nothing, until its client goes."""
    with suppress(OSError):
        while await reader.read(65536):
            pass
    writer.close()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes after the first words of its client."""
    await reader.read(65536)
    writer.close()


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks HTTP in clear."""
    await reader.read(65536)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def garbled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins a record of TLS and ends in its middle."""
    await reader.read(65536)
    writer.write(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
    writer.close()


def demanding(files: Files) -> Peer:
    """Wants a certificate of its client, and says why it takes none, as servers do that are not written with asyncio."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = context(files, wants_client=True).wrap_bio(incoming, outgoing, server_side=True)
        with suppress(ssl.SSLError, OSError):
            while True:
                try:
                    layer.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
        writer.write(outgoing.read())
        writer.close()

    return serve


@asynccontextmanager
async def listening(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """A peer on a free port; its base URL."""
    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
