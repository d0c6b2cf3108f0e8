"""Whose certificates are believed, and which one is shown: the one way to a TLS context for a server by URL.

Used by the checks and by the gateway alike, so that what one of them reaches the other one reaches too. Must not know connections.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Trust:
    """What TLS with one server is made of: paths of PEM files. `insecure` believes any certificate."""

    ca_file: str | None = None
    insecure: bool = False
    cert_file: str | None = None
    """The certificate to show, with its chain."""
    key_file: str | None = None
    """Its private key, where that is not in `cert_file`."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return tuple(file for file in (self.ca_file, self.cert_file, self.key_file) if file)


BY_DEFAULT = Trust()
"""The authorities that everybody trusts, and no certificate of our own."""


class TrustFailed(Exception):
    """A file cannot be used; the text says which one and why."""


class Contexts:
    """TLS contexts by trust, made anew when a file has changed. Making one takes 30 ms or more."""

    def __init__(self) -> None:
        self._made: dict[tuple[Trust, tuple[float, ...]], ssl.SSLContext] = {}

    def of(self, trust: Trust) -> ssl.SSLContext:
        """The context. Raises `TrustFailed`."""
        import ssl

        try:
            key = trust, tuple(Path(file).stat().st_mtime for file in trust.files)
            if key not in self._made:
                self._made = {known: made for known, made in self._made.items() if known[0] != trust}
                self._made[key] = context(trust)
            return self._made[key]
        except (OSError, ssl.SSLError) as error:
            raise TrustFailed(f"{_guilty(trust)} cannot be used: {_reason(error)}") from error


def context(trust: Trust) -> ssl.SSLContext:
    """A context for clients. Raises `OSError` and `ssl.SSLError` when a file cannot be used.

    Without a `ca_file` it believes the system's authorities and those of `certifi`, or only those that `SSL_CERT_FILE` names.
    """
    import ssl

    made = ssl.create_default_context(cafile=trust.ca_file)
    if trust.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif trust.ca_file is None and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        import certifi

        made.load_verify_locations(certifi.where())
    if trust.cert_file:
        made.load_cert_chain(trust.cert_file, trust.key_file)
    return made


def _guilty(trust: Trust) -> str:
    """Which file it is, as far as that can be told by trying them one after the other."""
    if trust.ca_file:
        import ssl

        try:
            ssl.create_default_context(cafile=trust.ca_file)
        except (OSError, ssl.SSLError):
            return f"the CA file {trust.ca_file}"
    return f"the client certificate {trust.cert_file}" if trust.cert_file else "the system's trust store"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
