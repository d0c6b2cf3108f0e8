"""Who may come in: bearer tokens in constant time, Host and Origin against DNS rebinding.

Pure. Must not know routes, sessions or sockets.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcpwatch.gateway.digests import equal, sha256

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, slots=True)
class RequestGuard:
    """The rules of one gateway. `hosts` holds `name` or `name:port`, `origins` whole origins; `*` lets every one in."""

    hosts: frozenset[str]
    origins: frozenset[str]
    public: str = ""
    """The origin of the public URL, which a reverse proxy may serve under another Host."""

    def host(self, value: str) -> bool:
        """Whether a Host header names this gateway. Numeric addresses may: rebinding needs a name to rebind."""
        value = rooted(value.lower())
        return "*" in self.hosts or value in self.hosts or bare(value) in self.hosts or _numeric(bare(value))

    def origin(self, value: str, host: str) -> bool:
        """Whether a browser page of this origin may call this `host` (the Host header). No Origin at all means no browser.

        Listed pages may, and those of the same host and port: another port of this machine is another program, a stranger.
        """
        value = value.lower()
        if "*" in self.origins or value in self.origins:
            return True
        if self.public and rooted(value) == self.public:
            return True
        scheme, _, own = value.partition("://")
        return scheme in {"http", "https"} and own != "" and rooted(own) == rooted(host.lower())


def rooted(host: str) -> str:
    """A Host without the dot that ends a whole domain name: `gw.lan.:80` is `gw.lan:80`."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return name.removesuffix(".") + colon + port
    return host.removesuffix(".")


def bare(host: str) -> str:
    """A Host without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def make(listen_host: str, base_url: str | None, hosts: tuple[str, ...], origins: tuple[str, ...]) -> RequestGuard:
    """The guard for an address: what it listens on, its public URL, loopback, and what the configuration allows."""
    known, listed = {host.lower() for host in hosts} | set(LOOPBACK), {origin.lower().rstrip("/") for origin in origins}
    if listen_host not in {"0.0.0.0", "::", ""}:  # noqa: S104
        known.add(f"[{listen_host}]" if ":" in listen_host else listen_host.lower())
    if base_url:
        parts = urlsplit(base_url)
        known |= {parts.netloc.lower(), (parts.hostname or "").lower()} - {""}
        own = rooted(parts.netloc.rpartition("@")[2].lower())
        return RequestGuard(frozenset(rooted(host) for host in known), frozenset(listed), f"{parts.scheme.lower()}://{own}")
    return RequestGuard(frozenset(rooted(host) for host in known), frozenset(listed))


def bearer(header: bytes | None, digests: tuple[bytes, ...]) -> int | None:
    """The index of the SHA-256 digest of the token that the Authorization header carries; `None` when it carries none of them.

    In constant time. `Bearer X` and a bare `X` are both taken, as TBXark's proxy does.
    """
    if header is None:
        return None
    given = header[7:] if header[:7].lower() == b"bearer " else header
    came, found = sha256(given), None
    for index, digest in enumerate(digests):
        if equal(came, digest):
            found = index
    return found
