"""What every HTTP wire needs: a request as a client builds it, its answer read within bounds, and a name for what is wrong.

This is where httpx and httpx-sse are used. Knows headers, statuses and event streams; knows no session and no expectation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import lru_cache

import httpx
from httpx_sse import EventSource, ServerSentEvent

import mcpwatch
from mcpwatch.checks import classify
from mcpwatch.checks.failure import NAME_MAX, PLACE_MAX, ProbeFailure, one_line, without_query
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import Body, ProbeTransport, port_of
from mcpwatch.model.probe import Symptom, Target

REPLY_LIMIT = 24 * 1024 * 1024
"""Bytes of one answer, decoded; more is `too_large`."""
ERROR_LIMIT = 16 * 1024
"""Bytes read of an answer that is only an error."""
CONTENT = ("Content-Type", "application/json")
AGENT = f"mcpwatch/{mcpwatch.__version__}"
MIDDLEMEN = ("nginx", "openresty", "cloudflare", "haproxy", "envoy", "traefik", "varnish", "squid", "caddy", "apache")
"""Words in `Server` or `Via` that name a proxy which may buffer."""

Events = AsyncGenerator[ServerSentEvent, None]


class Caller:
    """Speaks HTTP for one probe of one target."""

    def __init__(self, target: Target, transport: ProbeTransport, timeline: ProbeTimeline) -> None:
        self.target = target
        self.transport = transport
        self.timeline = timeline
        self.url = parse_url(target.url)
        public = parse_url(target.public_url) if target.public_url else self.url
        self.origins = {_origin(self.url), _origin(public)}
        self._base = _base_headers(target, public)
        self._headers: dict[tuple[tuple[str, str], ...], httpx.Headers] = {}

    def path(self, method: str) -> str:
        """`GET /time/sse`, for messages; a query is not shown (it may hold a session)."""
        return f"{method} {self.url.path}"

    async def get(self, headers: tuple[tuple[str, str], ...]) -> httpx.Response:
        """Open a GET on the target; the answer's head only."""
        return await self._send("GET", headers)

    async def post(self, body: bytes, headers: tuple[tuple[str, str], ...] = (), target: str = "") -> httpx.Response:
        """POST a JSON body, to the target's own path or to `target` (path and query); the answer's head only."""
        return await self._send("POST", (*headers, CONTENT), body, target)

    async def delete(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Send DELETE and take whatever comes back."""
        response = await self._send("DELETE", headers)
        await response.aclose()

    async def _send(self, method: str, headers: tuple[tuple[str, str], ...], body: bytes = b"", target: str = "") -> httpx.Response:
        extensions = {"target": target.encode("ascii")} if target else None
        made = self._headers.get(headers)
        if made is None:
            made = self._headers[headers] = httpx.Headers([*self._base, *headers])
        stream = httpx.ByteStream(body)  # as `content`, httpx would look for headers to add: three times the work
        return await self.transport.handle_async_request(
            httpx.Request(method, self.url, headers=made, stream=stream, extensions=extensions)
        )

    async def refuse(self, response: httpx.Response, what: str) -> ProbeFailure:
        """The failure that an answer with a bad status is."""
        body = await read(response, ERROR_LIMIT, cut=True)
        failure = classify.status_failure(response.status_code, response.headers, body, what)
        await response.aclose()
        return failure


def parse_url(text: str) -> httpx.URL:
    """The URL of a target. Raises `ProbeFailure(UNRESOLVED)` when it is none that can be probed."""
    try:
        url = _parsed(text)
        host = url.host  # decodes what is international, and may fail at that
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise ProbeFailure(Symptom.UNRESOLVED, f"{one_line(without_query(text), PLACE_MAX)} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not host:
        raise ProbeFailure(Symptom.UNRESOLVED, f"{one_line(without_query(text), PLACE_MAX)} is no http:// or https:// URL")
    return url


async def read(response: httpx.Response, limit: int, *, cut: bool = False) -> bytes:
    """The whole body, decoded. More than `limit` bytes raise `ProbeFailure(TOO_LARGE)`, or end the reading with `cut`."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                if cut:
                    break
                raise ProbeFailure(Symptom.TOO_LARGE, f"the answer is larger than {limit >> 20} MiB")
    except httpx.DecodingError as error:
        raise ProbeFailure(
            Symptom.BAD_REPLY, f"the answer is not the {response.headers.get('content-encoding')} it claims"
        ) from error
    finally:
        await response.aclose()
    return b"".join(pieces)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> httpx.URL:
    return httpx.URL(text)


async def skip(response: httpx.Response) -> None:
    """Read over the body of an answer whose status said everything."""
    if isinstance(response.stream, Body):
        await response.stream.skip(ERROR_LIMIT)
    await response.aclose()


def media_type(response: httpx.Response) -> str:
    """The media type of an answer, lower case, without parameters."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def must_be_stream(response: httpx.Response, what: str) -> None:
    """Raise `ProbeFailure` unless an answer is an event stream that arrives as it is sent."""
    kind = media_type(response)
    if kind != "text/event-stream":
        raise ProbeFailure(Symptom.WRONG_TYPE, f"{what} is answered as {kind or 'no type'}, not as text/event-stream")
    response.headers["content-type"] = kind  # media types are told without regard to case; httpx-sse looks with it
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise ProbeFailure(Symptom.BUFFERED, f"{what}: something compresses the event stream ({encoding}), so events arrive late")


async def events(response: httpx.Response) -> Events:
    """The events of a stream that carry data. Raises `ProbeFailure(TOO_LARGE)` for one that never ends."""
    body = response.stream
    assert isinstance(body, Body), "only answers of our own transport are read as events"
    body.limit = REPLY_LIMIT
    source = EventSource(response).aiter_sse()
    try:
        async for event in source:
            body.size = 0
            if event.data:
                yield event
    finally:
        await body.settle()
        body.over = True
        async for _ in source:  # what is left in the middle, asyncio would end with a task for every generator below this one
            pass


def middleman(headers: httpx.Headers) -> str:
    """The name of a reverse proxy that shows itself in the headers of an answer, or the empty string."""
    if "via" in headers:
        return one_line(headers["via"], NAME_MAX)
    server = headers.get("server", "").lower()
    return next((name for name in MIDDLEMEN if name in server), "")


def _base_headers(target: Target, public: httpx.URL) -> list[tuple[str, str]]:
    own = {name.lower() for name, _ in target.headers}
    base = [("Host", public.netloc.decode("ascii")), ("User-Agent", AGENT), ("Accept-Encoding", "identity")]
    if target.token:
        base.append(("Authorization", f"Bearer {target.token}"))
    return [(name, value) for name, value in base if name.lower() not in own] + list(target.headers)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, port_of(url.scheme, url.port)
