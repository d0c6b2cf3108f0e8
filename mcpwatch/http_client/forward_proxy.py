"""Which HTTP proxy of the environment a URL is reached by, and what is said to it: the one rule for the checks and the gateway.

Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, upper or lower case. The choice is pure; `tunnel` asks a proxy
that is connected. Must not know HTTP clients, TLS or MCP. ADR 0106.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

PORTS = {"http": 80, "https": 443}
REJECTED = 407
"""The status that only a proxy answers, to any request: it passed nothing on."""
_ANSWER = b"HTTP/1."
_STATUS = re.compile(rb"[1-9][0-9]{2}")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}", re.IGNORECASE)
"""An IPv4 address in any spelling that resolvers take, as `127.1`."""
_HEAD_BYTES = 64 * 1024
"""Bytes of a proxy's answer to CONNECT that are read."""


class BadProxy(ValueError):
    """The proxy of the environment cannot be used; the text names its variable and says why."""


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """One HTTP proxy. `variable` is where it was written; `credentials` is the value of `Proxy-Authorization`, or empty."""

    host: str
    port: int
    variable: str
    credentials: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """How it is named in errors, without credentials."""
        return f"the proxy {authority(self.host, self.port)} of {self.variable}"

    def headers(self) -> dict[str, str]:
        """What each request by it carries in addition."""
        return {"Proxy-Authorization": self.credentials} if self.credentials else {}

    @property
    def rejection(self) -> str:
        """What a status of `REJECTED` means."""
        return f"{self.shown} answered {REJECTED} (it wants other credentials)"

    def connect(self, host: str, port: int) -> bytes:
        """The request that asks for a tunnel to a server."""
        name = authority(ascii_name(host), port)
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}", *(f"{key}: {value}" for key, value in self.headers().items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def refusal(self, head: bytes) -> str:
        """Why the answer to `connect`, a whole head and whatever came behind it, opens no tunnel; empty when it does."""
        first, whole, behind = head.partition(b"\r\n\r\n")
        words = first.partition(b"\r\n")[0].split(b" ", 2)
        if not whole or len(words) < 2 or not words[0].startswith(_ANSWER) or not _STATUS.fullmatch(words[1]):
            return f"{self.shown} answered no HTTP"
        status = int(words[1])
        if not 200 <= status < 300:
            return self.rejection if status == REJECTED else f"{self.shown} answered {status}"
        return f"{self.shown} spoke before the server did" if behind else ""


class _TunnelAnswer(asyncio.Protocol):
    """Takes the answer of a proxy to CONNECT."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """More of its head."""
        self._data += data
        if b"\r\n\r\n" in self._data or len(self._data) > _HEAD_BYTES:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """What came is all there is."""
        self._end()

    def _end(self) -> None:
        if not self.head.done():
            self.head.set_result(self._data)


async def tunnel(transport: asyncio.Transport, proxy: ForwardProxy, host: str, port: int) -> str:
    """Ask the proxy at the other end of `transport` for a tunnel to a server.

    Returns why there is none; empty: TLS can begin, with a protocol of its own.
    """
    answer = _TunnelAnswer()
    transport.set_protocol(answer)
    if transport.is_closing():  # who had it before was told
        return f"{proxy.shown} closed the connection"
    transport.write(proxy.connect(host, port))
    return proxy.refusal(await answer.head)


def ascii_name(host: str) -> str:
    """A host name as it is said to a proxy: international ones as `xn--…`, others as they are."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def authority(host: str, port: int) -> str:
    """`host:port` as it stands in a request."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def forward_proxy(url: str, environ: Mapping[str, str]) -> ForwardProxy | None:
    """The proxy by which a URL is reached, `None` for a direct connection or what is no URL. Raises `BadProxy`.

    A loopback address is never reached by a proxy. Of two spellings of a variable the lower case one wins, as in curl and Python.
    """
    place = _beyond(url)
    if place is None:
        return None
    scheme, host, port = place
    for variable in (f"{scheme}_proxy", "all_proxy"):
        name, written = _variable(environ, variable)
        if written is not None:
            exempt = _variable(environ, "no_proxy")[1] or ""
            return None if not written or _is_exempt(host, port, exempt) else _read(name, written)
    return None


@lru_cache(maxsize=4096)
def _beyond(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a URL that a proxy may be for; `None` of one that none is for: each probe asks for its own."""
    try:
        parts = urlsplit(url)
    except ValueError:  # told by who asks for it
        return None
    host, port = (parts.hostname or "").rstrip("."), _port(parts, PORTS.get(parts.scheme, 0))
    return None if parts.scheme not in PORTS or not host or _is_loopback(host) else (parts.scheme, host, port)


def _variable(environ: Mapping[str, str], lower: str) -> tuple[str, str | None]:
    """The name and the value of a variable; an empty lower case one switches the other off."""
    for name in (lower, lower.upper()):
        if name in environ:
            return name, environ[name].strip()
    return lower, None


def _port(parts: SplitResult, default: int) -> int:
    try:
        return parts.port or default
    except ValueError:
        return default


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        if _NUMBERS.fullmatch(text):
            return ipaddress.IPv4Address(socket.inet_aton(text))
        address = ipaddress.ip_address(text.partition("%")[0])
    except (ValueError, OSError):
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether `NO_PROXY` names a host: `*`, a name and what is below it, an address, a network, each with a port or without."""
    address = _address(host)
    for word in no_proxy.replace(" ", ",").split(","):
        entry = word.strip().lower()
        if entry == "*" or (entry and _names(entry, host.lower(), port, address)):
            return True
    return False


def _names(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, number = entry.rpartition(":")
    if colon and _PORT.fullmatch(number) and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if address is not None:
        return _address(entry) == address
    entry = entry.removeprefix("*").strip(".")
    return entry != "" and (host == entry or host.endswith("." + entry))


def _read(variable: str, written: str) -> ForwardProxy:
    """The proxy that a variable names. Raises `BadProxy`."""
    text = written if "://" in written else f"http://{written}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadProxy(f"{variable} is no URL of a proxy; write http://HOST:PORT") from None
    if parts.scheme != "http":
        raise BadProxy(f"{variable} names a proxy by {parts.scheme}://, and only http:// is spoken; write http://HOST:PORT")
    if not host:
        raise BadProxy(f"{variable} names no host; write http://HOST:PORT")
    credentials = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = "Basic " + base64.b64encode(pair.encode(errors="surrogateescape")).decode()
    return ForwardProxy(host, port or PORTS["http"], variable, credentials)
