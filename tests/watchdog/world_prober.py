"""What probes of a world find: `ports.ProbeRunner`, the schedule of a virtual loop, and the fleet put together around both."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mcpwatch.model.fact import Fact
from mcpwatch.model.probe import (
    Canary,
    Outcome,
    ProbeResult,
    ServerInfo,
    Stage,
    StageTiming,
    Symptom,
    Target,
    Tool,
    Vantage,
)
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RouteSpec, Traits, UpstreamSpec
from mcpwatch.model.symptom import NOT_HTTP
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import SelfView
from mcpwatch.watchdog.beside import Question, beside
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.schedule import Job, Schedule
from mcpwatch.watchdog.senses import Senses
from tests.virtual import VirtualClock, VirtualLoop, ended
from tests.watchdog.world import BEHIND, HONEST, PROXY, Server, Session, World, WorldRuntime

INTERVAL = 5.0
TIMEOUT = 3.0
LATENCY = 0.02
ERRING = HONEST["erring"][2].partition("-32603: ")[2]
SPOILT = {
    "garbled": (Symptom.BAD_REPLY, f"{NOT_HTTP} (Missing expected CR after chunk data)"),
    "status": (Symptom.HTTP_STATUS, "GET /a/sse was answered with HTTP 500"),
}
"""What a proxy answers to everything."""
MACHINE = 0.03
"""Seconds that a look at the machine takes."""
DAEMON = SelfView(pid=7, version="1", started_at=WallTime(5.0))


class WorldProber:
    """Looks at a world as a client would."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """As `ports.ProbeRunner.probe`."""
        world = self._world
        await asyncio.sleep(LATENCY)
        if world.broken_prober and world.chance.random() < world.broken_prober:
            return ProbeResult(Outcome.UNKNOWN, message="the prober broke")
        name = target.url.rsplit("/", 2)[-2]
        deep = check.canary is not None or check.safe_call
        if name == PROXY or check.kind == "refusal":
            return await self._proxy(check)
        server = world.servers[name]
        deep = deep and not server.uncallable
        return await (self._direct(check, server, deep) if vantage == "direct" else self._route(check, server, deep))

    def forget(self, target: Target) -> None:
        """Nothing is learned here."""

    async def close(self) -> None:
        """Nothing is open."""

    async def _proxy(self, check: CheckSpec) -> ProbeResult:
        proxy = self._world.proxy
        if not proxy.alive or self._world.now < proxy.ready_at:
            return _failed(Symptom.REFUSED, Stage.CONNECT)
        stage = Stage.REFUSAL if check.kind == "refusal" else Stage.OPEN
        if proxy.fault in {"hang", "stopped"} or (proxy.fault == "deaf" and stage is Stage.REFUSAL):
            return await _late(check, stage)
        if proxy.fault in SPOILT and stage is Stage.REFUSAL:
            return replace(_failed(SPOILT[proxy.fault][0], stage), message=SPOILT[proxy.fault][1])
        return ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.OPEN, 0.01),))

    async def _direct(self, check: CheckSpec, server: Server, deep: bool) -> ProbeResult:
        world = self._world
        if server.late_child and server.alive and world.now < server.ready_at:
            return _failed(Symptom.NOT_MOUNTED, Stage.OPEN)
        if not server.alive or world.now < server.ready_at or server.fault in {"refuse", "wrong_port"}:
            return _failed(Symptom.REFUSED, Stage.CONNECT)
        if server.fault == "odd":
            return _failed(Symptom.BAD_REPLY, Stage.INITIALIZE)
        if server.one_client and world.reached(server.name):
            world.end(server.name)
            await asyncio.sleep(LATENCY)
            return _failed(Symptom.CUT, Stage.OPEN)
        if server.one_session and world.reached(server.name) and server.fault not in {"hang", "stopped"}:
            return replace(_failed(Symptom.RPC_ERROR, Stage.INITIALIZE), message=server.one_session)
        return await self._answer(check, server, deep)

    async def _answer(self, check: CheckSpec, server: Server, deep: bool) -> ProbeResult:
        if server.fault in {"hang", "stopped"}:
            return await _late(check, Stage.INITIALIZE)
        if server.fault == "half" and self._world.chance.random() < 0.5:
            stage = self._world.chance.choice((Stage.INITIALIZE, Stage.TOOLS_LIST))
            return replace(_failed(Symptom.HTTP_STATUS, stage), http_status=500)
        if server.fault == "child":
            return _failed(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL) if deep else _listed(server, deep=False)
        if server.fault in {"dependency", "offline"} and not deep:
            return _listed(server, deep=False)
        if server.fault == "declined" and check.canary is None:
            return _listed(server, deep=deep)
        if server.fault in HONEST:
            symptom, stage, message = HONEST[server.fault]
            return replace(_failed(symptom, stage), message=message, said=ERRING if server.fault == "erring" else "")
        return _listed(server, deep=deep)

    async def _route(self, check: CheckSpec, server: Server, deep: bool) -> ProbeResult:
        world = self._world
        proxy, session = world.proxy, world.sessions[server.name]
        if not proxy.alive or world.now < proxy.ready_at:
            return _failed(Symptom.REFUSED, Stage.CONNECT)
        if proxy.fault in {"hang", "stopped"}:
            return await _late(check, Stage.OPEN)
        if proxy.fault in SPOILT:
            return replace(_failed(SPOILT[proxy.fault][0], Stage.OPEN), message=SPOILT[proxy.fault][1])
        if world.traits.nudges:
            if world.reached(server.name):
                return await self._answer(check, server, deep)
            why = HONEST[server.fault][2] if server.fault in HONEST else "not connected"
            return replace(_failed(Symptom.UPSTREAM_DOWN, Stage.OPEN), message=f"member is down: {why}")
        if session.incarnation and server.no_way and deep:
            return replace(_failed(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL), message=f"answered an error: {server.no_way}")
        if not session.incarnation:
            return _failed(Symptom.NOT_MOUNTED, Stage.OPEN)
        if not deep:
            return _listed(server, deep=False)
        if not server.alive or not world.reached(server.name) or server.fault == "refuse":
            return _failed(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)
        if server.fault in {"hang", "stopped"}:
            return await _late(check, Stage.SAFE_CALL)
        if server.fault == "erring":
            return replace(_listed(server, deep=True), said=f"internal error: {ERRING}")
        if server.fault in {"auth", "licence", "overloaded"}:
            return replace(_failed(Symptom.RPC_ERROR, Stage.SAFE_CALL), message=HONEST[server.fault][2])
        if server.fault in {"child", "broken", "moved"} or (server.fault == "half" and world.chance.random() < 0.5):
            return _failed(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)
        if server.fault in {"declined", "offline"}:
            return await self._answer(check, server, deep)
        if server.fault == "dependency":
            return replace(_failed(Symptom.TOOL_ERROR, Stage.CANARY), message=HONEST["dependency"][2])
        return _listed(server, deep=True)


async def _late(check: CheckSpec, stage: Stage) -> ProbeResult:
    """What was asked of one that hung is lost, even when it answers again meanwhile."""
    await asyncio.sleep(check.timeout)
    return _failed(Symptom.TIMEOUT, stage)


def _failed(symptom: Symptom, stage: Stage) -> ProbeResult:
    return ProbeResult(Outcome.FAILURE, symptom, stage, f"{symptom} at {stage}", timings=(StageTiming(Stage.CONNECT, 0.01),))


def _listed(server: Server, *, deep: bool) -> ProbeResult:
    stages = (Stage.CONNECT, Stage.OPEN, Stage.TOOLS_LIST, *((Stage.SAFE_CALL,) if deep else ()))
    name = server.name if server.caches else f"the {server.name} server"
    return ProbeResult(
        Outcome.SUCCESS,
        timings=tuple(StageTiming(stage, 0.01) for stage in stages),
        server=ServerInfo(name, "1"),
        tools=tuple(Tool(tool, tool) for tool in server.tools),
    )


class VirtualSchedule(Schedule):
    """Runs jobs at their interval on whatever loop there is, each at its own offset."""

    def __init__(self) -> None:
        self._every: dict[str, tuple[Job, float]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started = False

    def put(self, name: str, job: Job, *, interval: float | None = None, cron: str | None = None) -> None:
        """As `Schedule.put`."""
        del cron
        self.drop(name)
        self._every[name] = (job, interval or INTERVAL)
        if self._started:
            self._run(name)

    def drop(self, name: str) -> None:
        """As `Schedule.drop`."""
        self._every.pop(name, None)
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def start(self) -> None:
        """As `Schedule.start`."""
        self._started = True
        for name in self._every:
            self._run(name)

    def stop(self) -> None:
        """As `Schedule.stop`."""
        for task in self._tasks.values():
            task.cancel()

    def realign(self) -> None:
        """As `Schedule.realign`."""

    def _run(self, name: str) -> None:
        job, interval = self._every[name]
        share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") / 65536

        async def turn() -> None:
            await asyncio.sleep(interval * share)
            while True:
                await job(0.0)
                await asyncio.sleep(interval)

        self._tasks[name] = asyncio.get_running_loop().create_task(turn(), name=name)


class Memory:
    """A store that keeps small values in a dict."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, str]] = {}

    def remember(self, room: str, key: str, value: str | None) -> None:
        """As `ports.Store.remember`."""
        if value is None:
            self.rooms.setdefault(room, {}).pop(key, None)
        else:
            self.rooms.setdefault(room, {})[key] = value

    def recall(self, room: str) -> dict[str, str]:
        """As `ports.Store.recall`."""
        return dict(self.rooms.get(room, {}))

    def record(self, fact: Fact) -> None:
        """Nothing is kept."""

    async def facts(self, **_: object) -> list[dict[str, object]]:
        """Nothing was kept."""
        return []

    async def flush(self) -> None:
        """Nothing is written."""


def plan_of(
    world: World,
    *,
    canary: frozenset[str] = frozenset(),
    only_canary: frozenset[str] = frozenset(),
    start_grace: float | None = None,
    guarded: bool = False,
) -> Plan:
    """The plan of a world: checks every 5 s, two failures are a verdict. `canary`: servers with a canary beside the handshake.

    `guarded`: once a minute each route is asked without a token.
    """
    strangers = (CheckSpec("refusal", "refusal", ("route",), 60.0, timeout=TIMEOUT, failure_threshold=2),) if guarded else ()
    deep = world.traits.lists_from_cache
    plain = CheckSpec("mcp", interval=INTERVAL, timeout=TIMEOUT, failure_threshold=2)
    members: list[MemberSpec] = []
    routes: list[RouteSpec] = []
    for server in world.servers.values():
        url = f"http://127.0.0.1:{BEHIND if server.behind else 8000}/{server.name}/sse"
        called = [replace(plain, name="canary", canary=Canary("a"))] if server.name in canary | only_canary else []
        checks = [*(() if server.name in only_canary else (plain,)), *called]
        reachable = server.kind in ("process", "url")
        members.append(
            MemberSpec(
                server.name,
                "server",
                {"process": "process", "hosted": "hosted"}.get(server.kind, "external"),
                object(),
                direct=Target(url) if reachable else None,
                route=server.name,
                checks=tuple(replace(check, vantages=("direct",)) for check in checks) if reachable else (),
                start_grace=server.cold + 20.0 if start_grace is None else start_grace,
                restart=RestartPolicy(),
            )
        )
        routed = tuple(replace(check, vantages=("route",), safe_call=deep) for check in checks)
        routes.append(RouteSpec(server.name, server.name, url, Target(url), checks=(*routed, *strangers)))
    front = CheckSpec("http", interval=INTERVAL, timeout=TIMEOUT, failure_threshold=2, vantages=("direct",))
    proxy = MemberSpec(PROXY, "proxy", "process", object(), direct=Target(f"http://127.0.0.1/{PROXY}/x"), checks=(front,))
    upstreams = tuple(UpstreamSpec(one.name, "sse", url=one.proxy_url) for one in world.servers.values() if one.proxy_url)
    spec = ProxySpec("gateway", PROXY, "127.0.0.1:1", "http://127.0.0.1", upstreams=upstreams)
    return Plan((*members, proxy), spec, tuple(routes))


async def aside(work: Callable[[], dict[Question, Any]]) -> dict[Question, Any]:
    """As a thread that looks at the machine and is late to tell it."""
    found = work()
    await asyncio.sleep(MACHINE)
    return found


@asynccontextmanager
async def watched(
    loop: VirtualLoop, clock: VirtualClock, traits: Traits, servers: list[Server], **options: Any
) -> AsyncGenerator[tuple[World, Fleet]]:
    """A world with a watchdog that has begun."""
    world = World(clock, loop, traits, {server.name: server for server in servers})
    world.sessions.update({server.name: Session() for server in servers})
    runtimes = {name: WorldRuntime(world, name) for name in ("process", "hosted", "external")}
    living: set[asyncio.Task[Any]] = set()

    def guard(work: Coroutine[Any, Any, Any], name: str) -> None:
        task = loop.create_task(work, name=name)
        living.add(task)
        task.add_done_callback(living.discard)

    for server in servers:
        if server.kind == "url" and not server.behind:
            world.begin(server.name)
    senses = Senses(
        nudge=world.nudge,
        schedule=VirtualSchedule,
        listening=world.listening,
        listener=world.listener,
        child=lambda _, route, __: world.pid(route) if world.servers[route].alive else 0,
        runs=lambda pid, _: world.bridges(pid),
        works=lambda pid, _: world.of_pid(pid).works,
        stopped=lambda pids: frozenset(pid for pid in pids if world.of_pid(pid).fault == "stopped"),
    )
    senses = beside(senses, aside, clock)
    fleet = Fleet(
        runtimes.__getitem__, WorldProber(world), clock, world.facts.append, guard, Memory(), daemon=DAEMON, senses=senses
    )  # type: ignore[arg-type]
    fleet.monitor.learn(traits)
    world.hear = fleet.monitor.hear
    guard(world.run_proxy(), "proxy")
    await fleet.begin(plan_of(world, **options))
    try:
        yield world, fleet
    finally:
        world.closing = True
        fleet.close()
        await ended(living)
