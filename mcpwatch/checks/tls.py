"""TLS for probes: the context for a target, the handshake, and the words for why it failed. The one place here that knows ssl."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings

from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.probe import Symptom, Target
from mcpwatch.trust import Trust

OLD_LOOK = 1.0
"""Seconds to look whether a server that broke the handshake off speaks an old version of TLS."""
OLD_VERSIONS = ("TLSv1", "TLSv1.1")


def trust(target: Target) -> Trust:
    """Whose certificates are believed for a target, and which one it is shown."""
    return Trust(target.ca_file, target.insecure, target.cert_file, target.key_file)


async def handshake(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str, *, direct: bool = True
) -> asyncio.Transport:
    """Go through the TLS handshake on a connected transport. Raises `ProbeFailure` that says what was wrong.

    `direct`: its other end is the server itself and no tunnel, so that another connection there asks the same server.
    """
    peer = transport.get_extra_info("peername") if direct else None
    try:
        encrypted = await asyncio.get_running_loop().start_tls(transport, protocol, context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise ProbeFailure(Symptom.TLS, f"the certificate of {host} is not accepted: {error.verify_message}") from error
    except (ssl.SSLError, OSError) as error:
        old = await spoken(str(peer[0]), int(peer[1])) if peer else ""
        if old:
            text = f"{host} speaks {old} at most; clients want TLSv1.2 or newer"
            raise ProbeFailure(Symptom.TLS, text, said=old) from error
        raise _broken(host, error) from error
    if encrypted is None:
        raise ProbeFailure(Symptom.CUT, f"{host} closed the connection during the TLS handshake")
    return encrypted


async def spoken(address: str, port: int) -> str:
    """The TLS version that a server speaks when it speaks none of today's: `TLSv1.1`; else the empty string."""
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
            made, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, address, port, ssl=lax)
            version = str(made.get_extra_info("ssl_object").version() or "")
            made.abort()
            return version if version in OLD_VERSIONS else ""
    return ""


def _broken(host: str, error: OSError) -> ProbeFailure:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return ProbeFailure(Symptom.TLS, f"the TLS handshake with {host} failed: {reason}")
    reason = error.strerror or str(error) or type(error).__name__
    return ProbeFailure(Symptom.CUT, f"{host} cut the connection during the TLS handshake ({reason})")
