"""A fleet and a store in memory, named like their ports: what the room sees of the rest of the daemon."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.clients.catalog import ClientsSection
from mcpwatch.model.fact import Fact
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import Plan, ProxySpec, RouteSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import FleetView, MemberView, RouteView, SelfView

TOKEN = "s3cret-tok"


class MemoryStore:
    """`ports.Store` in memory."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, str]] = {}

    def record(self, fact: Fact) -> None:
        pass

    def remember(self, room: str, key: str, value: str | None) -> None:
        if value is None:
            self.values.setdefault(room, {}).pop(key, None)
        else:
            self.values.setdefault(room, {})[key] = value

    def recall(self, room: str) -> dict[str, str]:
        return dict(self.values.get(room, {}))

    async def facts(
        self, *, since: WallTime | None = None, limit: int = 1000, member: str | None = None
    ) -> list[dict[str, object]]:
        return []

    async def flush(self) -> None:
        pass


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(1_800_000_000 + self.at)


class ShownFleet:
    """A fleet whose routes have the verdicts a test gives them."""

    def __init__(self, routes: dict[str, Verdict], clients: list[dict[str, object]], *, guarded: bool = True) -> None:
        base = "http://linuxserver.lan:9090"
        specs = tuple(
            RouteSpec(name, name, f"{base}/{name}/sse", Target(f"{base}/{name}/sse", "sse"), f"{base}/{name}/mcp", guarded=guarded)
            for name in routes
        )
        section = ClientsSection.model_validate(clients)
        proxy = ProxySpec("gateway", "proxy", "127.0.0.1:9090", base, (TOKEN,))
        self._plan = Plan(routes=specs, proxy=proxy, sections=(("clients", section),), secrets=(TOKEN,))
        self.verdicts = dict(routes)
        self.proxy_verdict = Verdict.HEALTHY
        self.stopped: set[str] = set()
        """Members that an operator stopped."""

    def plan(self) -> Plan:
        return self._plan

    def take(self, plan: Plan) -> None:
        """A reload."""
        self._plan = plan

    def without(self, route: str) -> None:
        """The configuration lost a route."""
        self._plan = replace(self._plan, routes=tuple(spec for spec in self._plan.routes if spec.name != route))
        self.verdicts.pop(route)

    def view(self) -> FleetView:
        proxy = MemberView("proxy", "proxy", "process", Want.UP, Phase.RUNNING, self.proxy_verdict, 1)
        routes = tuple(
            RouteView(spec.name, spec.member, spec.url, self.verdicts[spec.name], spec.http_url, symptom="refused")
            for spec in self._plan.routes
        )
        stopped = tuple(
            MemberView(name, "server", "process", Want.DOWN, Phase.STOPPED, Verdict.UNKNOWN, 1) for name in sorted(self.stopped)
        )
        return FleetView(WallTime(0), SelfView(1, "0", WallTime(0)), "proxy", (proxy, *stopped), routes)
