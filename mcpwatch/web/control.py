"""The daemon's JSON API: what the command line, the status page and other rooms' commands speak. Starlette, no state of its own.

Served on the 0600 unix socket `control.sock` with everything, and on `web.listen` with the reading part only unless a token is
given. Errors are `{"error": "one line"}` with 400, 404, 409 or 422; nothing here shows a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mcpwatch.bus import Bus, Subscription
from mcpwatch.model.errors import ConfigError, McpwatchError, StoreError, UsageError
from mcpwatch.model.fact import ProbeFinished
from mcpwatch.model.json import fact_json, plain, status_json
from mcpwatch.model.probe import Vantage
from mcpwatch.model.time import WallTime
from mcpwatch.ports import Fleet, Store

KEEPALIVE = 15.0
"""Seconds of silence after which an event stream says something, so that a dead reader is noticed."""

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
"""A room's own command: takes the JSON body (or query), gives JSON."""


class Operations(Protocol):
    """What only the composition root can do."""

    async def down(self, *, leave: bool) -> None:
        """Stop the watchdog (and, unless `leave`, all members). Returns at once."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Load the configuration again and apply it. Raises `ConfigError`."""
        ...

    async def remembered(self) -> None:
        """Return when what was commanded so far is on disk. Raises `StoreError` when it cannot be written now."""
        ...

    async def upgrade(self) -> None:
        """Become the code installed now, leaving members running. Returns at once."""
        ...


def build(
    fleet: Fleet, store: Store, bus: Bus, operations: Operations, extra: Mapping[tuple[str, str], Handler] | None = None
) -> Starlette:
    """The application: the fixed routes, and one per room command in `extra`."""
    control = _Control(fleet, store, bus, operations)
    routes = [
        Route("/status", control.status, methods=["GET"]),
        Route("/events", control.events, methods=["GET"]),
        Route("/probe", control.probe, methods=["POST"]),
        Route("/members/{name}/{verb}", control.command, methods=["POST"]),
        Route("/down", control.down, methods=["POST"]),
        Route("/reload", control.reload, methods=["POST"]),
        Route("/upgrade", control.upgrade, methods=["POST"]),
    ]
    routes += [Route(path, _room(handler), methods=[method]) for (method, path), handler in (extra or {}).items()]
    handlers = {McpwatchError: _on_error}
    return Starlette(routes=routes, exception_handlers=cast("Any", handlers))


def _room(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = dict(request.query_params) | dict(request.path_params) | await _body(request)
        return JSONResponse(plain(await handler(body)))

    return endpoint


async def _on_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    status = 404 if isinstance(error, UsageError) else 422 if isinstance(error, ConfigError) else 409
    body: dict[str, Any] = {"error": str(error)}
    if isinstance(error, ConfigError):
        body["faults"] = [str(fault) for fault in error.faults]
    return JSONResponse(body, status_code=status)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, or an empty one. Raises `UsageError` for anything else."""
    raw = await request.body()
    if not raw:
        return {}
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("the body must be a JSON object")
    return cast("dict[str, Any]", found)


class _Control:
    """The fixed endpoints."""

    def __init__(self, fleet: Fleet, store: Store, bus: Bus, operations: Operations) -> None:
        self._fleet = fleet
        self._store = store
        self._bus = bus
        self._operations = operations

    async def status(self, request: Request) -> Response:  # noqa: ARG002
        """The status document."""
        return JSONResponse(status_json(self._fleet.view()))

    async def command(self, request: Request) -> Response:
        """`start`, `stop` or `restart` a member; answers with the generation and phase right after."""
        name, verb = request.path_params["name"], request.path_params["verb"]
        if verb not in ("start", "stop", "restart"):
            raise UsageError(f"no verb '{verb}'; verbs: start, stop, restart")
        await self._fleet.command(verb, name)
        try:
            await self._operations.remembered()
        except StoreError as error:
            words = f"{name}: '{verb}' is under way, but a restart of the watchdog would forget it, as it cannot be written down"
            raise StoreError(f"{words} ({error})") from error
        member = self._fleet.view().member(name)
        return JSONResponse(plain(member))

    async def probe(self, request: Request) -> Response:
        """Run the checks of a member or route now."""
        body = await _body(request)
        vantage = cast("Vantage | None", body.get("vantage"))
        found = await self._fleet.probe_now(str(body.get("name", "")), vantage)
        return JSONResponse(
            [{"name": body.get("name"), "check": check, "vantage": seen, **plain(result)} for check, seen, result in found]
        )

    async def down(self, request: Request) -> Response:
        """Stop the watchdog."""
        body = await _body(request)
        await self._operations.down(leave=bool(body.get("leave", False)))
        return JSONResponse({"pid": self._fleet.view().daemon.pid})

    async def reload(self, request: Request) -> Response:  # noqa: ARG002
        """Load the configuration again."""
        return JSONResponse(await self._operations.reload())

    async def upgrade(self, request: Request) -> Response:  # noqa: ARG002
        """Become the code installed now."""
        await self._operations.upgrade()
        return JSONResponse({"pid": self._fleet.view().daemon.pid})

    async def events(self, request: Request) -> Response:
        """Facts as NDJSON: the recorded ones (`since` epoch seconds, `limit`, `member`), then with `follow` the live ones."""
        query = request.query_params
        try:
            since = WallTime(float(query["since"])) if "since" in query else None
            limit = int(query.get("limit", "1000"))
        except ValueError as error:
            raise UsageError(f"since and limit are numbers: {error}") from error
        follow: Literal[True, False] = query.get("follow", "") not in ("", "0", "false")
        member = query.get("member")
        live = self._bus.subscribe() if follow else None
        try:  # before the first byte: what cannot be read is an error, not an empty answer
            recorded = await self._store.facts(since=since, limit=limit, member=member) if limit else []
        except McpwatchError:
            if live is not None:
                live.close()
            raise
        stream = self._stream(recorded, live, member)
        return StreamingResponse(stream, media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})

    async def _stream(self, recorded: list[dict[str, object]], live: Subscription | None, member: str | None) -> AsyncIterator[str]:
        try:
            for fact in recorded:
                yield json.dumps(fact, ensure_ascii=False) + "\n"
            if live is None:
                return
            yield "\n"
            while True:
                fact = None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KEEPALIVE):
                        fact = await live.take()
                        if fact is None:
                            return
                if fact is None:
                    yield "\n"
                    continue
                quiet = isinstance(fact, ProbeFinished) and fact.outcome == "success"
                if not quiet and (member is None or getattr(fact, "member", None) == member):
                    yield json.dumps(fact_json(fact), ensure_ascii=False) + "\n"
        finally:
            if live is not None:
                live.close()
