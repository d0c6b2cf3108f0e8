"""What every HTTP wire needs: a request as a client builds it, its answer read within bounds, and a name for what is wrong.

Knows headers, statuses and event streams; knows no session and no expectation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

import mcpwatch
from mcpwatch.checks import classify
from mcpwatch.checks.failure import NAME_MAX, PLACE_MAX, SECRET_HEADERS, ProbeFailure, one_line, without_query
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import ProbeTransport, failed
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.coding import BadCoding, Unpacker
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.sse import EventParser, ServerSentEvent, shown
from mcpwatch.http_client.url import Url, as_requested, parse
from mcpwatch.model.probe import Symptom, Target

REPLY_LIMIT = 24 * 1024 * 1024
"""Bytes of one answer, decoded; more is `too_large`."""
ERROR_LIMIT = 16 * 1024
"""Bytes read of an answer that is only an error."""
SETTLE = 0.02
"""Seconds a short event stream gets to end after its answer before its connection is dropped."""
CONTENT = ("Content-Type", "application/json")
AGENT = f"mcpwatch/{mcpwatch.__version__}"
MIDDLEMEN = ("nginx", "openresty", "cloudflare", "haproxy", "envoy", "traefik", "varnish", "squid", "caddy", "apache")
"""Words in `Server` or `Via` that name a proxy which may buffer."""

Events = AsyncGenerator[ServerSentEvent, None]


class ProbeHttp:
    """Speaks HTTP for one probe of one target."""

    def __init__(self, target: Target, transport: ProbeTransport, timeline: ProbeTimeline) -> None:
        self.target = target
        self.transport = transport
        self.timeline = timeline
        self.url = parse_url(target.url)
        public = parse_url(target.public_url) if target.public_url else self.url
        self.origins = {self.url.origin, public.origin}
        self._base = _base_headers(target, public)
        self._target, self._elsewhere = "", self.url
        """The path and query that was asked last, and its URL."""

    def path(self, method: str) -> str:
        """`GET /time/sse`, for messages; a query is not shown (it may hold a session)."""
        return f"{method} {self.url.path}"

    async def get(self, headers: tuple[tuple[str, str], ...]) -> Response:
        """Open a GET on the target; the answer's head only."""
        return await self._send("GET", headers)

    async def post(self, body: bytes, headers: tuple[tuple[str, str], ...] = (), target: str = "") -> Response:
        """POST a JSON body, to the target's own path or to `target` (path and query); the answer's head only."""
        return await self._send("POST", (*headers, CONTENT), body, target)

    async def delete(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Send DELETE and take whatever comes back."""
        response = await self._send("DELETE", headers)
        response.close()

    async def _send(self, method: str, headers: tuple[tuple[str, str], ...], body: bytes = b"", target: str = "") -> Response:
        if target and target != self._target:
            self._target, self._elsewhere = target, replace(self.url, target=as_requested(target))
        url = self._elsewhere if target else self.url
        return await self.transport.request(method, url, {**self._base, **dict(headers)}, body)

    async def refuse(self, response: Response, what: str) -> ProbeFailure:
        """The failure that an answer with a bad status is."""
        body = await read(response, ERROR_LIMIT, cut=True)
        identified = any(name.lower() in SECRET_HEADERS for name in self._base)
        return classify.status_failure(response.status, response.headers, body, what, identified=identified)


def parse_url(text: str) -> Url:
    """The URL of a target. Raises `ProbeFailure(UNRESOLVED)` when it is none that can be probed."""
    try:
        return parse(text)
    except ValueError as error:
        raise ProbeFailure(Symptom.UNRESOLVED, f"{one_line(without_query(text), PLACE_MAX)} is {error}") from error


async def read(response: Response, limit: int, *, cut: bool = False) -> bytes:
    """The whole body, decoded. More than `limit` bytes raise `ProbeFailure(TOO_LARGE)`, or end the reading with `cut`."""
    pieces: list[bytes] = []
    size = 0
    try:
        unpacker = Unpacker(response.coding)
        async for piece in unpacker.read(response.part, limit + 1):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                if cut:
                    break
                raise ProbeFailure(Symptom.TOO_LARGE, f"the answer is larger than {shown(limit)}")
    except HttpFailed as error:
        raise failed(error) from error
    except BadCoding as error:
        if cut:
            return b""  # of an error, whose status says enough
        raise ProbeFailure(Symptom.BAD_REPLY, str(error)) from error
    finally:
        response.close()
    return b"".join(pieces)


async def skip(response: Response, limit: int = ERROR_LIMIT) -> None:
    """Read over the body of an answer whose status said everything; a longer one is dropped with its connection."""
    size = 0
    try:
        while size <= limit and (part := await response.part()) is not None:
            size += len(part)
    except HttpFailed as error:
        raise failed(error) from error
    finally:
        response.close()


def must_be_stream(response: Response, what: str) -> None:
    """Raise `ProbeFailure` unless an answer is an event stream that arrives as it is sent."""
    kind = response.media
    if kind != "text/event-stream":
        raise ProbeFailure(Symptom.WRONG_TYPE, f"{what} is answered as {kind or 'no type'}, not as text/event-stream")
    if response.coding:
        raise ProbeFailure(
            Symptom.BUFFERED, f"{what}: something compresses the event stream ({response.coding}), so events arrive late"
        )


async def events(response: Response) -> Events:
    """The events of a stream that carry data. Raises `ProbeFailure(TOO_LARGE)` for one that never ends."""
    parser = EventParser(REPLY_LIMIT)
    try:
        while (part := await response.part()) is not None:
            for event in parser.feed(part):
                if event.data:
                    yield event
            response.progressed(len(part) if parser.begun else 0)
    except HttpFailed as error:
        raise failed(error) from error
    finally:
        await settle(response)


async def settle(response: Response) -> None:
    """Give a short stream a moment to end by itself, so that its connection can be used again; then close it."""
    if response.open:
        with contextlib.suppress(TimeoutError, HttpFailed):
            async with asyncio.timeout(SETTLE):
                while await response.part() is not None:
                    pass
    response.close()


def middleman(headers: Mapping[str, str]) -> str:
    """The name of a reverse proxy that shows itself in the headers of an answer, or the empty string."""
    if "via" in headers:
        return one_line(headers["via"], NAME_MAX)
    server = headers.get("server", "").lower()
    return next((name for name in MIDDLEMEN if name in server), "")


def _base_headers(target: Target, public: Url) -> dict[str, str]:
    own = {name.lower() for name, _ in target.headers}
    base = [("Host", public.authority), ("User-Agent", AGENT), ("Accept-Encoding", "identity")]
    if target.token:
        base.append(("Authorization", f"Bearer {target.token}"))
    return dict([(name, value) for name, value in base if name.lower() not in own] + list(target.headers))
