"""The web room put together for one daemon: the meter, the API on the control socket, and the site on `web.listen`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from mcpwatch.alerts.service import Alerts
from mcpwatch.app.answers import Answers
from mcpwatch.app.monitoring import Monitoring
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.standing import Standing, in_maintenance
from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import Plan
from mcpwatch.runtimes.admin import AdminSocket
from mcpwatch.store.measured import read_measured
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.telemetry.logs import Logging
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.web.api.app import ERRORS, Api
from mcpwatch.web.api.catalog import Handler
from mcpwatch.web.api.control import FleetCommands, Operations
from mcpwatch.web.api.events import Facts
from mcpwatch.web.api.logs import LogStreams
from mcpwatch.web.fleets import Fleets
from mcpwatch.web.objectives.meter import Counted, ObjectiveMeter
from mcpwatch.web.server import WebServer
from mcpwatch.web.site import Site
from mcpwatch.web.spec import WebSpec
from mcpwatch.web.streams import Viewers

_log = logging.getLogger("mcpwatch.web")


@dataclass(frozen=True, slots=True)
class Around:
    """What the daemon gives the room."""

    fleet: Fleet
    store: SqliteStore
    bus: Bus
    clock: Clock
    paths: StatePaths
    logs: Logging
    alerts: Alerts
    operations: Operations
    handlers: Mapping[tuple[str, str], Handler]
    """The other rooms' own operations."""
    shipping: Callable[[], Mapping[str, Any] | None] = lambda: None
    """How log shipping goes; `None` where logs are not shipped."""


class Web:
    """The room. Make it before the fleet begins, so that no fact and no probe is missed."""

    def __init__(self, around: Around, plan: Plan) -> None:
        fleet, store, bus, clock, paths = around.fleet, around.store, around.bus, around.clock, around.paths
        self._fleet = fleet
        self._paths = paths
        self._store = store
        self.meter = ObjectiveMeter(
            fleet,
            store,
            bus,
            clock,
            announced=lambda member: in_maintenance(around.alerts, member),
            counters=self._counters,
            stored=self._stored,
        )
        self.logs = LogStreams(paths.root, around.logs.redact)
        answers = Answers(fleet, store, clock, paths, self.meter, self.logs)
        self.standing = Standing(fleet, self.meter, clock, answers.report)
        self._viewers = viewers = Viewers(web_of(plan).viewers)
        self._shipping = around.shipping
        monitoring = Monitoring(fleet.plan, clock, paths.root, around.logs.redact)
        self._specs = web_of(plan).fleets
        fleets = Fleets(fleet.view, lambda: self._specs, clock)
        own = {
            ("GET", "/summary"): fleets.summary,
            ("GET", "/fleets"): fleets.fleets,
            **FleetCommands(fleet, around.operations).handlers(),
            **answers.handlers(),
            **monitoring.handlers(),
        }
        every: dict[tuple[str, str], Handler] = {**own, **around.handlers, ("GET", "/self"): self._own}
        self.api = Api(every, Facts(bus, store), self.logs, bus, clock, viewers)
        self.site = Site(self.api, fleet, bus, clock, viewers, paths.root / "mcp.sock")
        self.server = WebServer(web_of(plan), self.site.build, bus, clock, self._note)

    def control(self) -> Starlette:
        """What the control socket serves."""
        return Starlette(routes=self.api.routes(), exception_handlers=ERRORS)

    def work(self) -> tuple[tuple[str, Callable[[], Coroutine[Any, Any, None]]], ...]:
        """What runs beside the fleet, by name."""
        return (("objectives", self.meter.run), ("live page", self.site.run), ("web", self.server.run))

    def reload(self, plan: Plan) -> None:
        """Take a new plan's section."""
        self._specs = web_of(plan).fleets
        self.server.retune(web_of(plan))

    def _note(self, text: str) -> None:
        """One line, and where the page is for `status`."""
        _log.info(text)
        self._fleet.daemon = replace(self._fleet.daemon, web=self.server.url)

    async def _own(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        """The watchdog's own figures that are no part of the status."""
        store, logs = await asyncio.to_thread(_weight, self._paths)
        viewers = {"open": self._viewers.open, "limit": self._viewers.limit, "dropped": self._viewers.dropped}
        return {
            "store": {"bytes": store, "waiting": self._store.waiting},
            "logs": {"bytes": logs},
            "shipping": self._shipping(),
            "viewers": viewers,
        }

    async def _counters(self) -> Mapping[str, Counted]:
        """What our own gateway counts; nothing where the proxy is another. Raises `RuntimeFailed` when it is away."""
        proxy = self._fleet.plan().proxy
        if proxy is None or not proxy.traits.embedded:
            return {}
        reply = await AdminSocket(self._paths.proxy / "admin.sock").request("GET", "/members")
        found: list[dict[str, Any]] = reply.body.get("members", []) if reply.status == 200 else []
        if not found:
            raise RuntimeFailed("the gateway serves nothing: it begins or ends, and its counters are not known")
        return {
            str(one["name"]): Counted(int(one["tool_calls"]), int(one["tool_errors"]), int(one["clients"]))
            for one in found
            if "tool_calls" in one
        }

    async def _stored(self, hour: int) -> Mapping[str, str]:
        """What was measured in this hour before: by an earlier watchdog, or by this one before its clock was set back."""
        await self._store.flush()
        return {name: text for name, number, text in read_measured(self._store.path, hour=hour) if number == hour}


def _weight(paths: StatePaths) -> tuple[int, int]:
    """Bytes of the store and of the members' logs on disk; what vanishes meanwhile counts nothing."""

    def size(found: Iterable[Path]) -> int:
        total = 0
        for path in found:
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    store = paths.store
    return size(store.parent.glob(f"{store.name}*")), size((paths.root / "logs").glob("*/*"))


def web_of(plan: Plan) -> WebSpec:
    """What the configuration says of the page, or the defaults."""
    return WebSpec.or_default(plan.section("web"))
