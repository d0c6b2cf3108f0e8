"""The connections of one probe: dialled through the stages of its timeline, never shared, always closed.

One probe has one `ProbeTransport` with at most a handful of connections (ADR 0015), on the client that the gateway uses too
(ADR 0120). What is worth sharing between probes - resolved names - is in `NameCache`. Knows HTTP; knows nothing of MCP.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping

from mcpwatch.checks.failure import REASON_MAX, ProbeFailure, one_line
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.http_client.client import REPEATABLE, HttpClient, Response
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.dial import dial, untimed
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import ForwardProxy
from mcpwatch.http_client.names import NAMES, Names
from mcpwatch.http_client.trust import Trust
from mcpwatch.http_client.url import Url
from mcpwatch.model.probe import Symptom, Target

NAME_TTL = 30.0
"""Seconds a resolved name is used again."""
NAMES_MAX = 4096
"""Resolved names kept; beyond it all are dropped."""
CONNECTIONS_MAX = 8
"""Connections one probe may open; a server that closes after every answer may use them up slowly."""
TOGETHER = 0.1
"""Seconds within which what comes has come at once."""
DRIP_PAUSE, DRIP_SHARE = 1.5, 0.25
"""Seconds, or the share of the time that it took, since when nothing came of an answer that still comes."""

_NO_NAME = re.compile(
    r"does not resolve|no such host|name or service not known|nodename nor servname|name resolution|ENOTFOUND|EAI_AGAIN",
    re.IGNORECASE,
)
"""Words of a failed look-up, of whoever made it."""
_WHICH = re.compile(r"\bname [\w.-]+ does not|\blookup (?!failed)[\w.-]+|\b(?:ENOTFOUND|EAI_AGAIN) [\w.-]+", re.IGNORECASE)
"""Those of them that tell which name."""


class NameCache:
    """Resolved names, which all probes share for a while."""

    def __init__(self, names: Names = NAMES) -> None:
        self._resolver = names
        self._names: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a host, asked of the resolver at most once in `NAME_TTL` seconds. Raises `HttpFailed`."""
        now = asyncio.get_running_loop().time()
        kept = self._names.get((host, port))
        if kept and now - kept[0] < NAME_TTL:
            return kept[1]
        found = await self._resolver.addresses(host, port)
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[host, port] = (now, found)
        return found

    def forget(self, host: str, port: int) -> None:
        """Resolve this host anew next time."""
        self._names.pop((host, port), None)
        self._resolver.forget(host, port)

    def doubt(self, words: str) -> None:
        """Resolve a host anew when an answer says that its name does not resolve: it may be gone for us too.

        Where the words tell no name it may be any.
        """
        if not _NO_NAME.search(words):
            return
        told = [at for at in self._names if re.search(rf"(?<![\w.-]){re.escape(at[0])}(?![\w-]|\.\w)", words, re.IGNORECASE)]
        for host, port in told or ([] if _WHICH.search(words) else [*self._names]):
            self.forget(host, port)


class ProbeTransport:
    """The connections of one probe. A request of a probe changes nothing: on a connection closed meanwhile it is sent again."""

    def __init__(self, target: Target, names: NameCache, timeline: ProbeTimeline) -> None:
        trust = Trust(target.ca_file, target.insecure, target.cert_file, target.key_file)
        self._timeline = timeline
        self.dialler = Dialler(trust, names, timeline)
        self._client = HttpClient(target.url, trust=trust, dialled_by=self.dialler.dial, repeatable=REPEATABLE | {"POST"})

    @property
    def certificate(self) -> dict[str, object]:
        """What the first server that shows one proves itself by; empty without TLS."""
        return self.dialler.certificate

    @property
    def tls_version(self) -> str:
        """The TLS version of the first connection, `TLSv1.3`; empty without TLS."""
        return self.dialler.tls_version

    async def request(self, method: str, url: Url, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request on an idle connection or a new one. Raises `ProbeFailure`."""
        try:
            return await self._client.request(method, url, headers, body)
        except HttpFailed as error:
            raise failed(error) from error

    async def prepare(self, url: Url) -> None:
        """Dial the first connection, so that what follows is timed without it. Raises `ProbeFailure`."""
        if not self._timeline.dialled:
            try:
                await self._client.prepare(url)
            except HttpFailed as error:
                raise failed(error) from error

    def dripping(self, seconds: float) -> str:
        """How slowly an answer comes that has not ended in so many seconds; the empty string when nothing of it comes any more."""
        for first, last, size in self.dialler.arrivals:
            if last - first > TOGETHER and time.monotonic() - last <= max(DRIP_PAUSE, DRIP_SHARE * seconds):
                return f"{size} bytes came of an answer in {seconds:.1f} s, and more is coming"
        return ""

    def abort(self) -> None:
        """Drop every connection at once. Never blocks."""
        self.dialler.abort()


class Dialler:
    """Dials and counts the connections of one probe. Knows not who asks: a probe that is over leaves no cycle to be collected."""

    def __init__(self, trust: Trust, names: NameCache, timeline: ProbeTimeline) -> None:
        self._trust = trust
        self._names = names
        self._timeline = timeline
        self._connections: list[ClientConnection] = []
        self.host = ""
        """The server's host that was dialled last; empty where a proxy of the environment was."""
        self.certificate: dict[str, object] = {}
        self.tls_version = ""

    async def dial(self, url: Url, proxy: ForwardProxy | None) -> ClientConnection:
        """One more connection. Raises `ProbeFailure`, `HttpFailed`, `OSError`."""
        self._connections = [connection for connection in self._connections if not connection.closed]
        if len(self._connections) >= CONNECTIONS_MAX:
            raise ProbeFailure(Symptom.BAD_REPLY, f"the server leaves {CONNECTIONS_MAX} answers unfinished")
        first = not self._timeline.dialled
        self._timeline.dialled = True
        self.host = url.host if proxy is None else ""
        enter = self._timeline.enter if first else untimed
        connection = await dial(url, self._trust, proxy, self._names, enter, lasting=False)
        self._connections.append(connection)
        self.certificate = self.certificate or connection.peer_certificate
        self.tls_version = self.tls_version or connection.tls_version
        return connection

    @property
    def arrivals(self) -> list[tuple[float, float, int]]:
        """What came on each connection of an answer that is not whole."""
        return [connection.arrivals for connection in self._connections if not connection.complete]

    def abort(self) -> None:
        """Drop every connection."""
        for connection in self._connections:
            connection.abort()
        self._connections = []


def failed(error: HttpFailed) -> ProbeFailure:
    """A request without an answer, as this room tells it."""
    return ProbeFailure(error.symptom, error.reason, said=one_line(error.said, REASON_MAX))
