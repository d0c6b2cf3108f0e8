"""The TLS handshake, and the words for why it failed."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from typing import TYPE_CHECKING

from mcpwatch.http_client import late_tls
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.symptom import Symptom

if TYPE_CHECKING:
    import ssl

OLD_LOOK = 1.0
"""Seconds to look whether a server that broke the handshake off speaks an old version of TLS."""
_OF_ITS_TIME = frozenset({9, 10})
"""OpenSSL: the certificate is not valid yet, or not any more."""
OLD_VERSIONS = ("TLSv1", "TLSv1.1")


async def handshake(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str, *, direct: bool = True
) -> asyncio.Transport:
    """Go through the TLS handshake on a connected transport. Raises `HttpFailed` that says what was wrong.

    `direct`: its other end is the server itself and no tunnel, so that another connection there asks the same server.
    """
    import ssl

    peer = transport.get_extra_info("peername") if direct else None
    try:
        encrypted = await _start(transport, protocol, context, host)
    except ssl.SSLCertVerificationError as error:
        raise HttpFailed(
            f"the certificate of {host} is not accepted: {error.verify_message}{_today(error)}", Symptom.TLS
        ) from error
    except (ssl.SSLError, OSError) as error:
        old = await spoken(str(peer[0]), int(peer[1])) if peer else ""
        if old:
            text = f"{host} speaks {old} at most; clients want TLSv1.2 or newer"
            raise HttpFailed(text, Symptom.TLS, said=old.encode()) from error
        raise _broken(host, error) from error
    if encrypted is None:
        raise HttpFailed(f"{host} closed the connection during the TLS handshake", Symptom.CUT)
    return encrypted


def _today(error: ssl.SSLCertVerificationError) -> str:
    """The date that it was held against, where that was the trouble: the clock here may be the one that is wrong."""
    dated = getattr(error, "verify_code", 0) in _OF_ITS_TIME
    return f" (the clock of this machine shows {time.strftime('%Y-%m-%d', time.gmtime())})" if dated else ""


async def _start(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport | None:
    """With the loop's own TLS where it has one."""
    loop = asyncio.get_running_loop()
    if late_tls.lacking():
        return await late_tls.start(loop, transport, protocol, context, host)
    return await loop.start_tls(transport, protocol, context, server_hostname=host)


async def spoken(address: str, port: int) -> str:
    """The TLS version that a server speaks when it speaks none of today's: `TLSv1.1`; else the empty string."""
    import ssl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that these versions are old is what is asked
        lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        lax.minimum_version = ssl.TLSVersion.TLSv1
        lax.maximum_version = ssl.TLSVersion.TLSv1_1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(OLD_LOOK):
            plain, protocol = await asyncio.get_running_loop().create_connection(asyncio.Protocol, address, port)
            try:
                made = await _start(plain, protocol, lax, address)
                version = str(made.get_extra_info("ssl_object").version() or "") if made is not None else ""
            finally:
                plain.abort()
            return version if version in OLD_VERSIONS else ""
    return ""


def _broken(host: str, error: OSError) -> HttpFailed:
    import ssl

    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return HttpFailed(f"the TLS handshake with {host} failed: {reason}", Symptom.TLS)
    reason = error.strerror or str(error) or type(error).__name__
    return HttpFailed(f"{host} cut the connection during the TLS handshake ({reason})", Symptom.CUT)
