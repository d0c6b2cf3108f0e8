"""Gateways that stand beside this one and serve the same file: a request for a session of another one goes there (ADR 0126).

Owns whose session an id names, and the way there and back. Must not know what sessions lead to.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from mcpwatch.gateway.http.http_exchange import HttpExchange
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.serve.session_id import named_session, waiting_state
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.passthrough import headers_back, pass_stream
from mcpwatch.http_client.client import HttpClient, Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.symptom import Symptom

HEAD_LIMIT = 600.0
"""Seconds until the other replica must have begun its answer."""
PASSED = b"mcpwatch-replica"
"""On a request that was passed on once, the name of who did; it is never passed on again."""
_STAYS = frozenset(
    {b"connection", b"keep-alive", b"content-length", b"transfer-encoding", b"expect", b"te", b"trailer", b"upgrade"}
    | {b"accept-encoding", PASSED}
)
_BACK = ("mcp-session-id", "mcp-protocol-version", "cache-control", "retry-after", "allow", "www-authenticate")


class Replicas:
    """The other replicas by name; none where this gateway stands alone. `name` is its own, at the head of its sessions' ids."""

    def __init__(self) -> None:
        self.name = ""
        self.passed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        """Requests passed on, and those whose replica is gone, by its name."""
        self._urls: dict[str, str] = {}
        self._clients: dict[str, HttpClient] = {}

    def serve(self, name: str, urls: Iterable[tuple[str, str]]) -> None:
        """Know these replicas from now on."""
        self.name = name
        self._urls = {other: url.rstrip("/") for other, url in urls if other != name}
        for other in [other for other, client in self._clients.items() if client.url != self._urls.get(other)]:
            self._clients.pop(other).close()
        for other, url in self._urls.items():
            self._clients.setdefault(other, HttpClient(url, direct=True))

    def holder(self, kind: str, turn: HttpExchange) -> str:
        """The other replica whose session or waiting request this is about; empty when it is ours to answer."""
        if not self._urls or PASSED in turn.headers:
            return ""
        name, dot, _ = (named_session(kind, turn) or waiting_state(kind, turn)).partition(".")
        return name if dot and name in self._urls else ""

    async def pass_on(self, request: McpRequest, other: str) -> None:
        """Have another replica answer a request, as it comes. A client that goes away ends it there too."""
        task = asyncio.current_task()
        assert task is not None
        if not request.turn.when_lost(functools.partial(task.cancel, "client")):
            return
        self.passed[other] += 1
        response: Response | None = None
        try:
            response = await self._ask(request, other)
            await _copy(request, response)
        except HttpFailed as error:
            self._failed(request, other, error)
        except asyncio.CancelledError:
            request.turn.cut()
        finally:
            request.turn.on_lost = None
            if response is not None:
                response.close()

    def close(self) -> None:
        """Close the kept connections."""
        for client in self._clients.values():
            client.close()

    async def _ask(self, request: McpRequest, other: str) -> Response:
        turn = request.turn
        query = f"?{turn.query.decode('latin-1')}" if turn.query else ""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in turn.lines if key not in _STAYS}
        headers[PASSED.decode()] = self.name
        try:
            async with asyncio.timeout(HEAD_LIMIT):
                return await self._clients[other].request(
                    turn.method, f"{self._urls[other]}{quote(turn.path)}{query}", headers, turn.body
                )
        except TimeoutError:
            raise HttpFailed(f"did not begin an answer within {HEAD_LIMIT:g} s", connected=True, sent=True) from None

    def _failed(self, request: McpRequest, other: str, error: HttpFailed) -> None:
        """Tell the client: a replica that is gone took its sessions with it; one that cannot be reached may be back soon."""
        if request.turn.begun:
            request.turn.cut()
        elif gone(error):
            self.lost[other] += 1
            request.lost_session()
        elif not error.sent:
            text = message.error(None, message.MEMBER_DOWN, f"replica {other!r} cannot be reached: {error.reason}")
            request.respond(503, text, [(b"retry-after", b"1")])
        else:
            text = f"replica {other!r}: {error}"
            request.respond(502, message.error(_raw_id(request), message.MEMBER_DOWN, text, error.data))


def gone(error: HttpFailed) -> bool:
    """Whether this says that the other replica runs no more, and its sessions with it.

    Nothing listens there, or there is no such name; a resolver that does not answer says nothing of it.
    """
    why = error.__cause__
    unknown = isinstance(why, socket.gaierror) and why.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
    return not error.sent and (error.symptom is Symptom.REFUSED or unknown)


async def _copy(request: McpRequest, response: Response) -> None:
    back = headers_back(response, _BACK)
    if response.media == "text/event-stream" and response.ok:
        await pass_stream(response, request.stream([header for header in back if header[0] != b"cache-control"]))
        return
    text = await response.read()
    media = response.headers.get("content-type", "application/json").encode("latin-1")
    request.turn.answer(response.status, text, media, [*request.extra, *back])


def _raw_id(request: McpRequest) -> bytes | None:
    try:
        return message.raw_id(message.peek(request.turn.body))
    except message.Malformed:
        return None
