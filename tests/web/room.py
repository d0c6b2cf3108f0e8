"""The whole web room over a fleet as data: real store, real alerts, real guard, no daemon, no port. Requests come by httpx."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import httpx

from mcpwatch.alerts.service import Alerts
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.web import Around, Web, web_of
from mcpwatch.bus import Bus
from mcpwatch.model.errors import ConfigError, Fault, UsageError
from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import FleetView, SelfView
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.web.api.catalog import Handler
from mcpwatch.web.spec import WebSpec
from tests.telemetry import fleet as data

READ, OPERATE = "read-read-read-read-read", "operate-operate-operate-operate"
HOME = "http://127.0.0.1:9465"
SPEC: dict[str, Any] = {
    "listen": "127.0.0.1:9465",
    "tokens": [{"token": READ, "role": "read", "name": "eyes"}, {"token": OPERATE, "role": "operate", "name": "hands"}],
    "public": True,
}


class HandClock:
    """`clock.Clock` set by hand."""

    def __init__(self) -> None:
        self.at = data.NOW
        self.since_boot = 1000.0

    def now(self) -> Instant:
        return Instant(self.since_boot)

    def wall(self) -> WallTime:
        return WallTime(self.at)

    def move(self, seconds: float) -> None:
        self.at = WallTime(self.at + seconds)
        self.since_boot += seconds


class FakeFleet:
    """`ports.SupervisedFleet` as data; remembers what it was asked to do."""

    def __init__(self, *members: str) -> None:
        self.shown: FleetView = data.view(*members)
        self.planned: Plan = data.plan(*members)
        self.daemon = SelfView(1, "0.1.0", data.NOW)
        self.commands: list[tuple[str, str]] = []

    def view(self) -> FleetView:
        return replace(self.shown, daemon=self.daemon)

    def plan(self) -> Plan:
        return self.planned

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None:
        self._known(member)
        self.commands.append((verb, member))

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        self._known(name)
        return (("mcp", vantage or "route", data.GOOD),)

    def _known(self, name: str) -> None:
        if self.shown.member(name) is None:
            raise UsageError(f"no member '{name}'")


class FakeOperations:
    """`Operations` that only remember."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def down(self, *, leave: bool) -> None:
        self.done.append(f"down {leave}")

    async def reload(self) -> dict[str, Any]:
        raise ConfigError(Fault("members.x", "is wrong", "fleet.yaml", 3))

    async def remembered(self) -> None:
        self.done.append("remembered")

    async def upgrade(self) -> None:
        self.done.append("upgrade")


class _Logs:
    redact = Redactor(("a-very-secret-value",))


class Room:
    """One web room and everything around it."""

    def __init__(self, directory: Path, *members: str, **spec: Any) -> None:
        self.paths = StatePaths(directory)
        self.paths.make()
        self.bus = Bus()
        self.clock = HandClock()
        self.fleet = FakeFleet(*(members or ("time", "git")))
        self.store = SqliteStore(self.paths.store)
        self.bus.hook(self.store.record)
        self.facts: list[Any] = []
        self.bus.hook(self.facts.append)
        self.operations = FakeOperations()
        self.spec = WebSpec.model_validate({**SPEC, **spec})
        self.alerts = Alerts(self.fleet, self.store, self.bus, self.clock)
        self.contract: dict[str, Any] = {"tools": [{"name": "now", "description": "tells the time"}]}
        plan = replace(self.fleet.planned, sections=(("web", self.spec),))
        around = Around(
            cast("Any", self.fleet),
            self.store,
            self.bus,
            self.clock,
            self.paths,
            cast("Any", _Logs()),
            self.alerts,
            self.operations,
            {**self.alerts.handlers, **self._others()},
        )
        self.web = Web(around, plan)
        assert web_of(plan) == self.spec
        self.app = self.web.site.build(self.spec)
        self.control = self.web.control()

    def _others(self) -> dict[tuple[str, str], Handler]:
        async def tools(body: dict[str, Any]) -> Any:
            if "name" not in body:
                return {"routes": [], "collisions": {}}
            if self.fleet.shown.route(body["name"]) is None:
                raise UsageError(f"'{body['name']}' has listed nothing yet")
            side = {"name": body["name"], "vantage": "route", "version": "1", "since": "-", "pinned": "-", "tokens": 5}
            return [{**side, "contract": self.contract, "changes": ["removed tool 'x'"], "history": []}]

        async def listed(body: dict[str, Any]) -> Any:
            return [{"client": "cursor", "title": "Cursor", "path": "/home/me/.cursor/mcp.json", "listed": ["git"], "in_sync": True,
                     "drift": [], "last_write": None}]  # fmt: skip

        async def done(body: dict[str, Any]) -> Any:
            return {"asked": body}

        async def lines(body: dict[str, Any]) -> Any:
            return [str(body.get("name"))]

        return {
            ("GET", "/health"): done,
            ("GET", "/tools"): tools,
            ("GET", "/tools/{name}"): tools,
            ("POST", "/pin/{name}"): lines,
            ("GET", "/clients"): listed,
            ("POST", "/clients/sync"): listed,
            ("POST", "/clients/undo"): done,
            ("POST", "/clients/purge"): listed,
            ("POST", "/clients/print"): done,
            ("GET", "/token/rotate"): done,
            ("POST", "/token/rotate"): done,
        }

    @contextlib.asynccontextmanager
    async def client(self, token: str = "", peer: str = "127.0.0.1", base: str = HOME) -> AsyncGenerator[httpx.AsyncClient]:
        """A caller from `peer`, with a bearer token or without."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=cast("Any", self.app), client=(peer, 4000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
            yield client

    async def log_in(self, client: httpx.AsyncClient, token: str) -> str:
        """A browser session; the word its forms carry."""
        answer = await client.post("/login", data={"token": token})
        assert answer.status_code == 303, answer.text
        page = (await client.get("/alerts")).text
        return page.split('data-csrf="')[1].split('"')[0]

    def close(self) -> None:
        self.store.close()


@contextlib.asynccontextmanager
async def room(directory: Path, *members: str, **spec: Any) -> AsyncGenerator[Room]:
    """A room for the time of a test."""
    made = Room(directory, *members, **spec)
    try:
        yield made
    finally:
        await made.web.site.close()
        made.close()
