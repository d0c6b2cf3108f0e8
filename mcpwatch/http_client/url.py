"""URLs of servers, read once: where to connect, and what a request says of it. Pure."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from mcpwatch.http_client.forward_proxy import PORTS, ascii_name, authority

_PLAIN = re.compile(r"[\x21-\x7e]*")
_AS_IT_IS = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~"


@dataclass(frozen=True, slots=True)
class Url:
    """One URL of a server."""

    scheme: str
    host: str
    """The name or address to connect to, without brackets."""
    port: int
    """As written (0 is a port like any other, and refuses), else that of the scheme."""
    authority: str
    """The value of `Host`."""
    target: str
    """Path and query, as they are requested."""

    @property
    def path(self) -> str:
        """The path without the query, which may hold a session or a secret."""
        return self.target.partition("?")[0]

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    def join(self, path: str) -> Url:
        """Another place of the same server."""
        return parse(urljoin(f"{self.scheme}://{self.authority}{self.target}", path))


@lru_cache(maxsize=4096)
def parse(text: str) -> Url:
    """Read an absolute http:// or https:// URL; a user in it is left out. Raises `ValueError`."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"no URL: {error}") from error
    if parts.scheme not in PORTS or not host:
        raise ValueError("no http:// or https:// URL")
    usual = PORTS[parts.scheme]
    number = usual if port is None else port
    name = authority(ascii_name(host), number)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, host, number, name.removesuffix(f":{usual}"), as_requested(target))


def as_requested(target: str) -> str:
    """Path and query with every character escaped that a request cannot carry."""
    return target if _PLAIN.fullmatch(target) else quote(target, _AS_IT_IS)


def address_family(host: str) -> socket.AddressFamily | None:
    """The family of a literal address, which no resolver has to be asked for; `None` of a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family
    return None
