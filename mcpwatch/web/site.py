"""Everything that is served on the web address, behind the guard: pages, forms, API, streams, public page, MCP server, assets."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError, UsageError
from mcpwatch.model.fact import OperatorActed
from mcpwatch.ports import SupervisedFleet
from mcpwatch.web.api.app import ERRORS, Api
from mcpwatch.web.guard import GuardMiddleware
from mcpwatch.web.page.forms import Forms
from mcpwatch.web.page.live import Live
from mcpwatch.web.page.pages import Pages
from mcpwatch.web.page.public import Public
from mcpwatch.web.problems import RequestRefused, on_error, on_failure, on_http_error
from mcpwatch.web.sessions import LoginSessions
from mcpwatch.web.spec import WebSpec
from mcpwatch.web.streams import EventStream, Viewers

if TYPE_CHECKING:
    from mcpwatch.web.mcp.relay import McpRelay

STATIC = Path(__file__).with_name("page") / "static"


class Site:
    """Makes the application for a spec; sessions and open pages outlive a reload. `run` beside it until cancelled."""

    def __init__(self, api: Api, fleet: SupervisedFleet, bus: Bus, clock: Clock, viewers: Viewers, mcp_socket: Path) -> None:
        self._api = api
        self._fleet = fleet
        self._bus = bus
        self._clock = clock
        self._viewers = viewers
        self._sessions = LoginSessions()
        self._pages = Pages(api, fleet, clock, WebSpec.unwritten(), lambda: "")
        self._live = Live(bus, self._pages.rendered)
        self._mcp_socket = mcp_socket
        self._relay: McpRelay | None = None

    async def run(self) -> None:
        """Tell open pages what changes, until cancelled."""
        try:
            await self._live.run()
        finally:
            await self.close()

    async def close(self) -> None:
        """End what was started for requests."""
        if self._relay is not None:
            await self._relay.close()

    def build(self, spec: WebSpec) -> GuardMiddleware:
        """The application."""
        self._viewers.limit = spec.viewers
        pages = Pages(self._api, self._fleet, self._clock, spec, lambda: self._live.mark)
        names = frozenset(one.name or one.role for one in spec.tokens)
        self._sessions.keep(names)
        inner = Starlette()
        guard = GuardMiddleware(inner, spec, self._sessions, self._clock, self._told)
        forms = Forms(self._api, pages, self._sessions, self._clock, guard.login, guard.slowed)
        api = Starlette(routes=self._api.routes(), exception_handlers=ERRORS)
        inner.router.routes += [
            *pages.routes(),
            *forms.routes(),
            *Public(pages, self._fleet, self._clock, spec).routes(),
            Route("/live", self._stream, methods=["GET"]),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/mcp", self._mcp, methods=["GET", "POST", "DELETE"]),
            Mount("/api/v1", api),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

        async def refused(request: Request, error: Exception) -> Response:
            """For people a page, for programs a problem."""
            if "text/html" not in request.headers.get("accept", ""):
                found = on_http_error if isinstance(error, HTTPException) else on_error
                return await found(request, error)
            status = getattr(error, "status", 404 if isinstance(error, UsageError) else getattr(error, "status_code", 409))
            text = getattr(error, "detail", None) or str(error)
            return pages.html(
                request, "message.html", status=status, heading="Not found" if status == 404 else "Not done", text=text, back="/"
            )

        inner.exception_handlers.update({McpwatchError: refused, HTTPException: refused, Exception: on_failure})
        return guard

    async def _stream(self, request: Request) -> Any:
        """The stream of changes for one open page."""
        try:
            self._viewers.room()
        except RequestRefused as error:
            return await on_error(request, error)
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return EventStream(self._live.stream(last), "text/event-stream", self._viewers)

    async def _mcp(self, request: Request) -> Response:
        """A request to the MCP server. What relays it is loaded for the first one, in a thread: the loop would stand still."""
        relay = await asyncio.to_thread(importlib.import_module, "mcpwatch.web.mcp.relay")
        if self._relay is None:
            self._relay = cast("McpRelay", relay.McpRelay(self._mcp_socket))
        return await self._relay.serve(request)

    def _told(self, peer: str, count: int) -> None:
        """Somebody showed a wrong token."""
        text = f"{peer or 'somebody'} showed a wrong token ({count} in a row)"
        self._bus.publish(OperatorActed(at=self._clock.wall(), text=text, level="warning", by=peer, action="login failed"))


async def _alive(request: Request) -> Response:  # noqa: ARG001
    return PlainTextResponse("ok\n")
