"""The API as an application: the operations of the catalog bound to handlers, with roles, validation, and facts of what was done.

The same routes serve the control socket (at `/`; its user is the owner) and the web address (at `/api/v1`, behind `guard`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.journal import STREAMS
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.fact import OperatorActed
from mcpwatch.model.json import plain
from mcpwatch.web.api.bodies import EventsQuery, LogsQuery, RequestBody
from mcpwatch.web.api.catalog import CATALOG, DOCUMENT, Handler, Operation
from mcpwatch.web.api.control import LARGE
from mcpwatch.web.api.events import Facts
from mcpwatch.web.api.logs import LogStreams
from mcpwatch.web.problems import RequestRefused, on_error, on_failure, on_http_error
from mcpwatch.web.sessions import Caller, caller_of
from mcpwatch.web.streams import EventStream, Viewers

BODY_LIMIT = 256 * 1024
"""Bytes of a request body."""
SHOWN_FAULTS = 5
BY_HEADER = "mcpwatch-by"
"""On the control socket: on whose behalf the caller acts, so that it is told as a fact."""
LOCAL_ONLY = {("POST", "/token/rotate"): ("env_file",)}
"""What names files of this machine is for the control socket alone."""

Handlers = Mapping[tuple[str, str], Handler]
ERRORS: Any = {McpwatchError: on_error, HTTPException: on_http_error, Exception: on_failure}
Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """Endpoints for the operations. One instance serves both doors."""

    def __init__(self, handlers: Handlers, facts: Facts, logs: LogStreams, bus: Bus, clock: Clock, viewers: Viewers) -> None:
        self.handlers = {**handlers, ("GET", "/whoami"): _nobody}
        self._facts = facts
        self._logs = logs
        self._bus = bus
        self._clock = clock
        self._viewers = viewers

    def routes(self) -> list[BaseRoute]:
        """A route for each operation that has a handler, and the OpenAPI document."""
        bound = [operation for operation in CATALOG if operation.key in self.handlers]
        routes: list[BaseRoute] = [Route(one.path, self._endpoint(one), methods=[one.method]) for one in bound]
        return [*routes, Route("/openapi.json", _document, methods=["GET"])]

    async def act(self, operation: Operation, body: dict[str, Any], caller: Caller) -> Any:
        """Run one operation for a caller. Raises `RequestRefused` and other `McpwatchError`."""
        if not caller.may(operation.role):
            raise RequestRefused(
                403, f"{operation.method} {operation.path} needs the role {operation.role}; this caller has {caller.role}"
            )
        if caller.remote and (hidden := [key for key in LOCAL_ONLY.get(operation.key, ()) if body.get(key)]):
            raise RequestRefused(403, f"{', '.join(hidden)}: only through the control socket")
        if operation.path == "/whoami":
            return {"role": caller.role, "by": caller.by}
        if caller.by and operation.body is not None and "by" in operation.body.model_fields:
            body = {**body, "by": caller.by}
        answer = await self.handlers[operation.key](body)
        if operation.role == "operate" and caller.by:
            self._tell(operation, body, caller)
        return answer

    def _tell(self, operation: Operation, body: dict[str, Any], caller: Caller) -> None:
        subject = str(body.get(operation.subject, "")) if operation.subject else ""
        words = operation.path.strip("/").split("/")
        action = str(body.get("verb", "")) or " ".join(word for word in words if not word.startswith("{"))
        text = f"{caller.by}: {action}{f' {subject}' if subject else ''}"
        member = subject if "{name}" in operation.path else ""
        self._bus.publish(OperatorActed(at=self._clock.wall(), text=text, by=caller.by, action=action, member=member))

    def _endpoint(self, operation: Operation) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            caller = _caller(request)
            if operation.path == "/events" and (stream := await self._stream(request, caller)) is not None:
                return cast("Response", stream)
            if operation.path == "/logs/{name}" and "text/event-stream" in request.headers.get("accept", ""):
                return cast("Response", await self._log(operation, request, caller))
            body = await _asked(operation, request)
            answer = await self.act(operation, body, caller)
            large = operation.path == "/status" and len(answer["members"]) + len(answer["routes"]) > LARGE
            return Response(await asyncio.to_thread(_json, answer) if large else _json(answer), media_type="application/json")

        return endpoint

    async def _stream(self, request: Request, caller: Caller) -> EventStream | None:
        """The facts as a stream, when one is accepted."""
        accept = request.headers.get("accept", "")
        media = next((one for one in ("text/event-stream", "application/x-ndjson") if one in accept), None)
        if media is None:
            return None
        if not caller.may("read"):
            raise RequestRefused(403, "events need the role read")
        asked = cast("EventsQuery", _validated(EventsQuery, dict(request.query_params)))
        if caller.remote:
            self._viewers.room()
        if media == "application/x-ndjson":
            follow = asked.follow not in ("", "0", "false")
            lines = await self._facts.ndjson(asked.since, asked.limit, asked.member, follow=follow)
            return EventStream(lines, media, self._viewers)
        last = request.headers.get("last-event-id", "")
        return EventStream(self._facts.sse(last, asked.member, asked.name), media, self._viewers)

    async def _log(self, operation: Operation, request: Request, caller: Caller) -> EventStream:
        """A member's log as a stream, after what the reader has seen. Raises `UsageError` for a member without one."""
        asked = cast("LogsQuery", _validated(LogsQuery, dict(request.query_params)))
        name = str(request.path_params["name"])
        await self.act(operation, {"name": name, "lines": 0}, caller)
        if caller.remote:
            self._viewers.room()
        streams = STREAMS if asked.stream is None else (asked.stream,)
        after = request.headers.get("last-event-id") or asked.after
        return EventStream(self._logs.sse(name, after, streams), "text/event-stream", self._viewers)


def _json(answer: Any) -> bytes:
    """An answer as sent. Views and facts in it are made plain on the way, what is plain already is not gone through twice."""
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain).encode()


def _caller(request: Request) -> Caller:
    caller = caller_of(request.scope)
    by = "" if caller.remote else request.headers.get(BY_HEADER, "")[:64]
    return Caller(caller.role, by, remote=False) if by else caller


async def _nobody(body: dict[str, Any]) -> Any:
    """Stands for `/whoami`, which `act` answers."""
    return body


async def _asked(operation: Operation, request: Request) -> dict[str, Any]:
    """What the request carries, validated. Raises `RequestRefused`."""
    found: dict[str, Any] = {}
    if operation.query is not None:
        found |= _validated(operation.query, dict(request.query_params)).model_dump(exclude_unset=True, by_alias=True)
    raw = await _read(request)
    if operation.method == "POST":
        found |= _body(operation, request, raw)
    return found | dict(request.path_params)


async def _read(request: Request) -> bytes:
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > BODY_LIMIT:
            raise RequestRefused(413, f"the body is larger than {BODY_LIMIT} bytes")
    return raw


def _body(operation: Operation, request: Request, raw: bytes) -> dict[str, Any]:
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if raw and media != "application/json":
        raise RequestRefused(415, f"the body is {media}; send application/json")
    try:
        found: object = json.loads(raw) if raw.strip() else {}
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is not JSON: {str(error)[:200]}") from None
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise RequestRefused(400, "the body must be a JSON object")
    if operation.body is None:
        if found:
            raise RequestRefused(400, f"{operation.path} takes no body")
        return {}
    given = {key: value for key, value in cast("dict[str, Any]", found).items() if value is not None}
    return _validated(operation.body, given).model_dump(exclude_unset=True, by_alias=True)


def _validated(model: type[RequestBody], found: dict[str, Any]) -> RequestBody:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{'.'.join(str(step) for step in fault['loc'])}: {fault['msg']}" for fault in faults[:SHOWN_FAULTS])
        raise RequestRefused(400, told[:1000]) from None


async def _document(request: Request) -> Response:  # noqa: ARG001
    return FileResponse(DOCUMENT, media_type="application/json")
