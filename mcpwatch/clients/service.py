"""The room in the daemon: watches routes, and brings a client's file up to date when a verdict has held. Shell.

Owns the book of each client, when to look again, and what is told about it. Decides nothing itself: `policy` says which routes
are listed, `reconcile` what that means for a file, `writer` carries it out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import anyio

from mcpwatch.bus import Bus, Subscription
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.catalog import Client, ClientsSection
from mcpwatch.clients.location import Machine
from mcpwatch.clients.policy import Book, Decision, Rules, Seen, advance
from mcpwatch.clients.route import ClientRoute, client_route
from mcpwatch.clients.writer import Done, Order, Writer
from mcpwatch.clock import Clock
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.fact import ClientFileSkipped, ClientFileWritten, Fact, MemberChanged, PlanApplied, RouteChanged
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import Instant, later
from mcpwatch.model.view import FleetView
from mcpwatch.ports import Store

RECHECK = 30.0
"""Seconds between two looks at a file that nothing asks to change: drift is found, and failures are tried again."""
GATHER = 2.0
"""Seconds a change waits for others whose hold ends so soon after it: one write then serves them all."""
QUEUE = 256


class Watched(Protocol):
    """The part of `ports.Fleet` that this room needs."""

    def view(self) -> FleetView:
        """The fleet as shown, now."""
        ...

    def plan(self) -> Plan:
        """The plan in force."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one client between two looks."""

    book: Book = field(default_factory=Book)
    decision: Decision = field(default_factory=lambda: Decision((), ()))
    done: Done | None = None
    error: str = ""
    told: str = ""
    next_look: Instant = Instant(0)
    written_for: tuple[ClientRoute, ...] | None = None
    brought: tuple[tuple[str, ...], str] | None = None
    """The list, and why it is kept, that the file was last brought up to."""
    changing_since: Instant | None = None
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why each route entered or left that the file does not show yet."""


class ClientsService:
    """Keeps every client of the plan true."""

    def __init__(
        self, fleet: Watched, store: Store, bus: Bus, clock: Clock, state_dir: Path, *, machine: Machine | None = None
    ) -> None:
        self._fleet = fleet
        self._bus = bus
        self._clock = clock
        self._states: dict[str, State] = {}
        self._lock = anyio.Lock()
        self.writer = Writer(store, Backups(state_dir / "backups" / "clients"), machine or Machine(), self._base)

    # ---- the loop

    async def run(self) -> None:
        """Watch until cancelled."""
        async with self._woken() as news:
            while True:
                wake = await self.look()
                with anyio.move_on_after(max(0.0, wake - self._clock.now())):
                    await news.wait()
                    news.clear()

    @asynccontextmanager
    async def _woken(self) -> AsyncGenerator[_News]:
        """A flag that is raised by whatever may change a decision."""
        news = _News()
        subscription = self._bus.subscribe(RouteChanged, PlanApplied, MemberChanged, size=QUEUE)
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, subscription, news)
            try:
                yield news
            finally:
                subscription.close()
                group.cancel_scope.cancel()

    async def look(self) -> Instant:
        """One look at the fleet and every client that is due; when to look again."""
        now = self._clock.now()
        wakes = [await self._look_at(client, now) for client in self.clients()]
        return min([later(now, RECHECK), *wakes])

    async def _look_at(self, client: Client, now: Instant) -> Instant:
        async with self._lock:
            key = self.writer.name(client)
            state = self._states.get(key) or State(self._first_book(client))
            routes = self.routes()
            book, decision = self._decide(client, state.book, now)
            state = replace(state, book=book, decision=decision, reasons={**state.reasons, **decision.reasons})
            since = None if state.brought == (decision.on, decision.kept) else state.changing_since or now
            state = replace(state, changing_since=since)
            if now >= state.next_look or state.written_for != routes or _ripe(state, now):
                state = await self._bring(client, state, routes, now)
            self._states[key] = state
            return min(state.next_look, decision.wake_at or state.next_look)

    def _first_book(self, client: Client) -> Book:
        """At the start, the routes listed are those whose entries are ours in the file, and not switched off."""
        ledger, adapter = self.writer.ledger(client), client.adapter
        wanted = adapter.wanted(client.spec, self.routes(), (), self._token())
        off = dict(adapter.wanted(client.spec, (), self.routes(), self._token()).entries)
        ours = {path: route for path, route in wanted.routes.items() if ledger.owns(path)}
        switched = {path for path in ours if off[path] != wanted.entries[path] and ledger.wrote(path, off[path])}
        return Book({}, frozenset(route for path, route in ours.items() if path not in switched))

    def _base(self) -> Path | None:
        """Where relative paths start: beside the configuration."""
        source = self._fleet.plan().source
        return Path(source).absolute().parent if source else None

    def _decide(self, client: Client, book: Book, now: Instant) -> tuple[Book, Decision]:
        view, planned = self._fleet.view(), {route.name for route in self._fleet.plan().routes}
        seen = [Seen(route.name, route.verdict, route.symptom) for route in view.routes if route.name in planned]
        spec = client.spec
        return advance(book, seen, now, Rules(spec.policy, spec.hold_up, spec.hold_down), proxy_up=_proxy_up(view))

    async def _bring(self, client: Client, state: State, routes: tuple[ClientRoute, ...], now: Instant) -> State:
        """Write what is decided, unless the client is paused, and tell."""
        state = replace(state, next_look=later(now, RECHECK))
        if self.writer.ledger(client).paused:
            return state
        order = Order(routes, state.decision, self._token(), self._clock.wall())
        try:
            done = await self.writer.carry_out(client, order)
        except ClientFileError as error:
            return self._tell_skipped(client, replace(state, error=str(error)), str(error))
        if done.written.changed:
            self._tell_written(client, done, state.reasons)
        state = _brought(state, done, routes)
        left = [f"'{drift.entry}' {drift.text}" for drift in done.written.outcome.drift]
        return self._tell_skipped(client, state, "; ".join(left))

    # ---- telling

    def _tell_written(self, client: Client, done: Done, reasons: Mapping[str, str]) -> None:
        outcome, path = done.written.outcome, str(self.writer.path(client))
        why = "; ".join(f"{route}: {reason}" for route, reason in reasons.items()) or outcome.summary
        reload = "" if client.adapter.reload == "at once" else f" ({client.adapter.reload})"
        text = f"{client.adapter.title}: {outcome.summary} in {path} because {why}{reload}"
        self._bus.publish(
            ClientFileWritten(
                at=self._clock.wall(),
                text=text,
                client=client.spec.kind,
                path=path,
                added=outcome.added,
                removed=outcome.removed,
                reason=why,
            )
        )

    def _tell_skipped(self, client: Client, state: State, why: str) -> State:
        """Say once what keeps a file from being as it should."""
        if why and why != state.told:
            path, title = str(self.writer.path(client)), client.adapter.title
            fact = ClientFileSkipped(
                at=self._clock.wall(), text=f"{title}: {why}", level="warning", client=client.spec.kind, path=path, reason=why
            )
            self._bus.publish(fact)
        return replace(state, told=why)

    # ---- what the commands need

    def clients(self) -> tuple[Client, ...]:
        """The clients of the plan in force."""
        section = self._fleet.plan().section("clients")
        return section.made() if isinstance(section, ClientsSection) else ()

    def routes(self) -> tuple[ClientRoute, ...]:
        """The routes of the plan in force, as clients see them."""
        return tuple(client_route(route) for route in self._fleet.plan().routes)

    def state(self, client: Client) -> State:
        """What was last found out about a client."""
        return self._states.get(self.writer.name(client)) or State()

    async def ordered(self, client: Client, *, force: bool, dry_run: bool) -> Done:
        """Bring a client up to date because a person asked: a paused one goes on; with `force`, holds do not count.

        Raises `ClientFileError`.
        """
        async with self._lock:
            key, now = self.writer.name(client), self._clock.now()
            state = self._states.get(key) or State(self._first_book(client))
            book, decision = self._decide(client, state.book, now)
            if force:
                book, decision = self._at_once(client, book, now)
            order = Order(self.routes(), decision, self._token(), self._clock.wall(), force=force, dry_run=dry_run)
            done = await self.writer.carry_out(client, order)
            if dry_run:
                return done
            ledger = self.writer.ledger(client)
            if ledger.paused:
                self.writer.note(client, replace(ledger, paused=False))
            settled = replace(state, book=book, decision=decision, next_look=later(now, RECHECK))
            self._states[key] = _brought(settled, done, order.routes)
            if done.written.changed:
                self._tell_written(client, done, {"sync": "asked for"})
            return done

    def _at_once(self, client: Client, book: Book, now: Instant) -> tuple[Book, Decision]:
        """The decision if every hold were over."""
        view, planned = self._fleet.view(), {route.name for route in self._fleet.plan().routes}
        seen = [Seen(route.name, route.verdict, route.symptom) for route in view.routes if route.name in planned]
        return advance(book, seen, now, Rules(client.spec.policy, 0.0, 0.0), proxy_up=_proxy_up(view))

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """No file is written by the loop meanwhile."""
        async with self._lock:
            yield

    def forget(self, client: Client) -> None:
        """Believe the ledger again about what is listed; what is known of the routes' health stays."""
        state = self._states.pop(self.writer.name(client), None)
        if state is not None:
            listed = self._first_book(client).listed
            self._states[self.writer.name(client)] = State(Book(state.book.held, listed))

    def _token(self) -> str:
        proxy = self._fleet.plan().proxy
        return proxy.tokens[0] if proxy and proxy.tokens else ""

    def order(self, decision: Decision, *, dry_run: bool = False) -> Order:
        """An order as of now, for a command that decides itself."""
        return Order(self.routes(), decision, self._token(), self._clock.wall(), dry_run=dry_run)

    def plan(self) -> Plan:
        """The plan in force."""
        return self._fleet.plan()

    def secrets(self) -> Sequence[str]:
        """What no answer may show."""
        return self._fleet.plan().secrets


class _News:
    """A flag that can be lowered again."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()


async def _listen(subscription: Subscription, news: _News) -> None:
    async for fact in subscription:
        if _matters(fact):
            news.set()


def _matters(fact: Fact) -> bool:
    return not isinstance(fact, MemberChanged) or fact.field in ("phase", "verdict")


def _brought(state: State, done: Done, routes: Sequence[ClientRoute]) -> State:
    """The state after the file was brought up to its decision."""
    brought = (state.decision.on, state.decision.kept)
    return replace(state, done=done, error="", written_for=tuple(routes), brought=brought, changing_since=None, reasons={})


def _ripe(state: State, now: Instant) -> bool:
    """Whether a change of the list is to be written now: it is there, and no other is about to join it."""
    if state.changing_since is None:
        return False
    wake = state.decision.wake_at
    return wake is None or wake - now >= GATHER or now - state.changing_since >= GATHER


def _proxy_up(view: FleetView) -> bool:
    proxy = view.member(view.proxy) if view.proxy else None
    return proxy is None or (proxy.phase is Phase.RUNNING and proxy.verdict is not Verdict.UNHEALTHY)
