"""A connection to a server: its name, TCP, a proxy of the environment where that names one, and TLS; told stage by stage.

Owns the dialling. Must not know requests or pools.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from mcpwatch.http_client import tls
from mcpwatch.http_client.brief_transport import BriefTransport
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import ForwardProxy, authority, tunnel
from mcpwatch.http_client.keepalive import notice_vanished
from mcpwatch.http_client.names import NAMES, Names
from mcpwatch.http_client.trust import Contexts, Trust, TrustFailed
from mcpwatch.http_client.url import Url
from mcpwatch.model.symptom import Stage, Symptom

FALLBACK_AFTER = 1.0
"""Seconds each of several addresses of a host gets before the next is tried; the last one has all the time there is."""
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that say something about this process and this machine, nothing about the peer."""
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY})

Enter = Callable[[Stage], None]
"""Told when resolving, connecting and the TLS handshake begin."""

_contexts = Contexts()
"""Reading the authorities takes 30 ms, in which the loop stands still: once for each trust."""


async def connect(
    host: str, port: int, addresses: tuple[str, ...], *, lasting: bool = True, plain: bool = False
) -> ClientConnection:
    """A TCP connection to the first address that takes one. Raises `HttpFailed`, and `OSError` when this process cannot.

    `lasting`: it is to notice a peer whose host vanishes; what ends by a deadline of its own soon needs no such questions.
    `plain`: no TLS will be begun on it.
    """
    brief = plain and not lasting
    last: OSError | None = None
    for address in addresses:
        final = address == addresses[-1]
        try:
            if final:
                connection = await _connected(address, port, brief)
            else:
                async with asyncio.timeout(FALLBACK_AFTER):
                    connection = await _connected(address, port, brief)
        except TimeoutError:
            if final:
                raise
            continue
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            last = error
            continue
        if lasting and connection.transport is not None:
            notice_vanished(connection.transport.get_extra_info("socket"))
        return connection
    where = authority(host, port)
    if isinstance(last, ConnectionRefusedError):
        raise HttpFailed(f"{where} refuses connections: nothing listens there", Symptom.REFUSED)
    reason = (last.strerror or str(last)) if last else "no address"
    raise HttpFailed(f"{where} cannot be reached: {reason}")


async def _connected(address: str, port: int, brief: bool) -> ClientConnection:
    """A connection to a literal address. Raises `OSError`.

    A peer on this machine has answered before `connect` returns, and the second call says so: no turn of the loop is waited for it.
    """
    loop = asyncio.get_running_loop()
    if "%" in address:  # a scope, which only the resolver reads
        return (await loop.create_connection(ClientConnection, address, port))[1]
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        code = sock.connect_ex((address, port))
        if code in _UNDER_WAY:
            code = sock.connect_ex((address, port))
        if code in _UNDER_WAY:
            await loop.sock_connect(sock, (address, port))
        elif code not in (0, errno.EISCONN):
            raise OSError(code, os.strerror(code))
        if not brief:
            return (await loop.create_connection(ClientConnection, sock=sock))[1]
        connection = ClientConnection()
        BriefTransport(loop, sock, connection)
        return connection
    except BaseException:
        sock.close()
        raise


def untimed(stage: Stage) -> None:
    """Nobody wants to know."""
    del stage


async def dial(
    url: Url, trust: Trust, proxy: ForwardProxy | None, names: Names = NAMES, enter: Enter = untimed, *, lasting: bool = True
) -> ClientConnection:
    """Connect to a server; `lasting`: as `connect` has it.

    Raises `HttpFailed`, not `connected`, and `OSError` when this process cannot.
    """
    near = (proxy.host, proxy.port) if proxy is not None else (url.host, url.port)
    try:
        enter(Stage.RESOLVE)
        addresses = await names.addresses(*near)
        enter(Stage.CONNECT)
        connection = await _reached(near, addresses, names, lasting=lasting, plain=url.scheme == "http")
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


async def _reached(
    near: tuple[str, int], addresses: tuple[str, ...], names: Names, *, lasting: bool, plain: bool
) -> ClientConnection:
    """A connection; addresses at which none comes about are forgotten: the host may have others now. Raises as `connect` does."""
    try:
        return await connect(*near, addresses, lasting=lasting, plain=plain)
    except BaseException:
        names.forget(*near)
        raise


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
