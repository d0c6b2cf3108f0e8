"""TLS for a process that does without until a server needs it: the loop is imported without `ssl`, 5 MiB less (ADR 0130).

Owns what asyncio and uvloop hold of `ssl`. Must not know connections, requests or trust. Imports neither loop at the top.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module, reload
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio
    import ssl

_HOLDERS = ("asyncio.base_events", "asyncio.selector_events")
"""Modules of asyncio that keep `ssl`, or `None` where it could not be imported."""
_without: ModuleType | None = None
"""What uvloop was given for `ssl`; `None`: the real module."""
_lock = threading.Lock()


class _NoTls(ModuleType):
    """Has whatever a loop takes from `ssl` when it is imported; no context of TLS is an instance of anything here."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        made: object = 0 if name.isupper() else type(name, (Exception,), {})
        setattr(self, name, made)
        return made


@contextmanager
def postponed() -> Generator[None]:
    """Import the loop within, without TLS. Where `ssl` or a loop was imported before nothing is postponed."""
    global _without
    if {"ssl", "asyncio", "uvloop"} & sys.modules.keys():
        yield
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules["ssl"] = None
    stand_in = _NoTls("ssl")
    try:
        import_module("asyncio")
        modules["ssl"] = stand_in
        import_module("uvloop")
        _without = stand_in
        modules["ssl"] = None  # what else asks for it now goes without too, or fails where a test sees it
        yield
    finally:
        modules.pop("ssl", None)


def lacking() -> bool:
    """Whether the loop knows no TLS, so that it is begun by `start`."""
    return _without is not None


def load() -> None:
    """Give asyncio its TLS; uvloop stays without. Once, some 20 ms."""
    with _lock:
        if import_module("asyncio.sslproto").ssl is not None:
            return
        loaded = import_module("ssl")
        for name in _HOLDERS:
            import_module(name).__dict__["ssl"] = loaded
        reload(import_module("asyncio.sslproto"))


async def start(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport | None:
    """The TLS handshake of a client on a connected transport, with the protocol of asyncio, as `start_tls` of a loop does it.

    Returns `None` when the peer closed the connection meanwhile. Raises what the handshake raises.
    """
    load()
    tls: Any = import_module("asyncio.sslproto")
    done: asyncio.Future[None] = loop.create_future()
    layer = tls.SSLProtocol(loop, protocol, context, done, server_hostname=host, call_connection_made=False)
    transport.pause_reading()  # nothing may come before the layer knows its transport
    transport.set_protocol(layer)
    steps = [loop.call_soon(layer.connection_made, transport), loop.call_soon(transport.resume_reading)]
    try:
        await done
    except BaseException:
        for step in steps:
            step.cancel()
        transport.abort()
        raise
    return cast("asyncio.Transport | None", layer._app_transport)
