"""A connection to an upstream: TCP, by a proxy of the environment where it names one, and TLS.

Owns the dialling. Must not know requests, pools or JSON-RPC.
"""

from __future__ import annotations

import asyncio
import ssl

from mcpwatch.forward_proxy import PORTS, ForwardProxy, authority, tunnel
from mcpwatch.gateway.http.keepalive import notice_vanished
from mcpwatch.gateway.upstream.answer_reader import UpstreamConnection
from mcpwatch.gateway.upstream.sse_parser import HttpFailed
from mcpwatch.trust import Contexts, Trust, TrustFailed

CONNECT_LIMIT = 5.0
"""Seconds for a connection, the proxy's tunnel and TLS included."""

_contexts = Contexts()
"""Reading the authorities takes 30 ms, in which the loop stands still: once for each trust."""


async def dial(scheme: str, host: str, port: int | None, trust: Trust, proxy: ForwardProxy | None) -> UpstreamConnection:
    """Connect to an upstream. Raises `HttpFailed`, not `connected`."""
    try:
        context = _contexts.of(trust) if scheme == "https" else None
    except TrustFailed as error:
        raise HttpFailed(str(error)) from None
    whole = host, port or PORTS[scheme]
    near = (proxy.host, proxy.port) if proxy is not None else whole
    where = proxy.shown if proxy is not None else authority(*near)
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            if proxy is not None and context is not None:
                return await _by_tunnel(proxy, whole, context)
            made = await asyncio.get_running_loop().create_connection(UpstreamConnection, *near, ssl=context)
    except TimeoutError:
        raise HttpFailed(f"no connection to {host if proxy is None else where} within {CONNECT_LIMIT:g} s") from None
    except OSError as error:
        guilty = authority(*whole) if isinstance(error, ssl.SSLError) else where  # a tunnel's TLS is the server's
        raise HttpFailed(f"connection to {guilty} failed: {error.strerror or error}") from None
    except UnicodeError:
        raise HttpFailed(f"connection to {where} failed: that is no name of a host") from None
    transport, connection = made
    notice_vanished(transport.get_extra_info("socket"))
    return connection


async def _by_tunnel(proxy: ForwardProxy, server: tuple[str, int], context: ssl.SSLContext) -> UpstreamConnection:
    """TLS to a server through a proxy's tunnel. Raises `HttpFailed`, `OSError`."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, proxy.host, proxy.port)
    try:
        notice_vanished(transport.get_extra_info("socket"))
        if refusal := await tunnel(transport, proxy, *server):
            raise HttpFailed(refusal)
        connection = UpstreamConnection()
        secure = await loop.start_tls(transport, connection, context, server_hostname=server[0])
        if secure is None:
            raise HttpFailed(f"{proxy.shown} closed the tunnel")
        connection.connection_made(secure)
    except BaseException:
        transport.abort()
        raise
    return connection
