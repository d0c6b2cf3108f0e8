"""A connection to a server: its name, TCP, a proxy of the environment where that names one, and TLS; told stage by stage.

Owns the dialling. Must not know requests or pools.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

from mcpwatch.http_client import tls
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import ForwardProxy, authority, tunnel
from mcpwatch.http_client.keepalive import notice_vanished
from mcpwatch.http_client.trust import Contexts, Trust, TrustFailed
from mcpwatch.http_client.url import Url
from mcpwatch.model.probe import Stage, Symptom

FALLBACK_AFTER = 1.0
"""Seconds each of several addresses of a host gets before the next is tried; the last one has all the time there is."""
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that say something about this process and this machine, nothing about the peer."""

Names = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""The addresses of a host and port."""
Enter = Callable[[Stage], None]
"""Told when resolving, connecting and the TLS handshake begin."""

_contexts = Contexts()
"""Reading the authorities takes 30 ms, in which the loop stands still: once for each trust."""


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host; a literal address is its own. Raises `HttpFailed`."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return (host,)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HttpFailed(f"the name {host} does not resolve: {reason}", Symptom.UNRESOLVED) from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(host: str, port: int, addresses: tuple[str, ...]) -> ClientConnection:
    """A TCP connection to the first address that takes one. Raises `HttpFailed`, and `OSError` when this process cannot."""
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for address in addresses:
        limit = None if address == addresses[-1] else FALLBACK_AFTER
        try:
            async with asyncio.timeout(limit):
                transport, connection = await loop.create_connection(ClientConnection, address, port)
        except TimeoutError:
            if limit is None:
                raise
            continue
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            last = error
            continue
        notice_vanished(transport.get_extra_info("socket"))
        return connection
    where = authority(host, port)
    if isinstance(last, ConnectionRefusedError):
        raise HttpFailed(f"{where} refuses connections: nothing listens there", Symptom.REFUSED)
    reason = (last.strerror or str(last)) if last else "no address"
    raise HttpFailed(f"{where} cannot be reached: {reason}")


def untimed(stage: Stage) -> None:
    """Nobody wants to know."""
    del stage


async def dial(
    url: Url, trust: Trust, proxy: ForwardProxy | None, names: Names = resolve, enter: Enter = untimed
) -> ClientConnection:
    """Connect to a server. Raises `HttpFailed`, not `connected`, and `OSError` when this process cannot."""
    near = (proxy.host, proxy.port) if proxy is not None else (url.host, url.port)
    try:
        enter(Stage.RESOLVE)
        addresses = await names(*near)
        enter(Stage.CONNECT)
        connection = await connect(*near, addresses)
    except HttpFailed as error:
        if proxy is None:
            raise
        raise HttpFailed(f"{proxy.shown} cannot be used: {error.reason}") from error  # that says nothing about the server
    if url.scheme == "https":
        try:
            await _secure(connection, url, trust, proxy, enter)
        except BaseException:
            connection.abort()
            raise
    return connection


async def _secure(connection: ClientConnection, url: Url, trust: Trust, proxy: ForwardProxy | None, enter: Enter) -> None:
    """Through the proxy's tunnel, if there is one, and the TLS handshake. Raises `HttpFailed`."""
    if connection.transport is None:
        raise HttpFailed("the connection was closed before the TLS handshake", Symptom.CUT)
    if proxy is not None and (refusal := await tunnel(connection.transport, proxy, url.host, url.port)):
        raise HttpFailed(f"{url.host}: {refusal}")
    enter(Stage.TLS)
    try:
        context = _contexts.of(trust)
    except TrustFailed as error:
        raise HttpFailed(str(error), Symptom.TLS) from error
    connection.transport = await tls.handshake(connection.transport, connection, context, url.host, direct=proxy is None)
