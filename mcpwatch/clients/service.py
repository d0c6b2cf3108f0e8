"""The room in the daemon: watches routes, and brings a client's file up to date when a verdict has held. Shell.

Owns the book of each client, when to look again, and what is told about it. Decides nothing itself: `policy` says which routes
are listed, `reconcile` what that means for a file, `writer` carries it out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import anyio

from mcpwatch.bus import Bus
from mcpwatch.clients.adapter import Client
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.facts import changes, file_skipped, file_written
from mcpwatch.clients.location import Machine
from mcpwatch.clients.policy import Book, ListingDecision, ListingRules, advance
from mcpwatch.clients.route import ClientRoute, client_route
from mcpwatch.clients.state import State, brought, proxy_up, ripe, seen_routes
from mcpwatch.clients.tokens import Tokens, digest, dumps, loads
from mcpwatch.clients.writer import ROOM, Done, Order, Writer
from mcpwatch.clock import Clock
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.fact import Fact
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import Instant, later
from mcpwatch.model.view import FleetView
from mcpwatch.ports import Store

RECHECK = 30.0
"""Seconds between two looks at a file that nothing asks to change: drift is found, and failures are tried again."""
TOKENS = "tokens"
"""The note of the digests of all tokens there ever were."""


def clients_of(plan: Plan) -> tuple[Client, ...]:
    """The clients that a plan names. Only where it names some is every adapter loaded."""
    section = plan.section("clients")
    if section is None:
        return ()
    from mcpwatch.clients.catalog import ClientsSection

    return section.made() if isinstance(section, ClientsSection) else ()


def client_key(client: Client) -> str:
    """What tells the clients of one plan apart, whether their files can be found or not."""
    spec = client.spec
    return ":".join(
        (spec.kind, spec.scope, spec.path or "", spec.project or "", spec.prefix, *spec.routes, getattr(spec, "url", ""))
    )


class WatchedFleet(Protocol):
    """The part of `ports.SupervisedFleet` that this room needs."""

    def view(self) -> FleetView:
        """The fleet as shown, now."""
        ...

    def plan(self) -> Plan:
        """The plan in force."""
        ...


class ClientsService:
    """Keeps every client of the plan true."""

    def __init__(
        self, fleet: WatchedFleet, store: Store, bus: Bus, clock: Clock, state_dir: Path, *, machine: Machine | None = None
    ) -> None:
        self._fleet = fleet
        self._bus = bus
        self._clock = clock
        self._states: dict[str, State] = {}
        self._locks: dict[str, anyio.Lock] = {}
        self._doubles: dict[str, str] = {}
        self.going: frozenset[str] = frozenset()
        """Digests of tokens that still open the proxy, though no file should hold them any more: a rotation is under way."""
        self.writer = Writer(store, Backups(state_dir / "backups" / "clients"), machine or Machine(), self._base)

    # ---- the loop

    async def run(self) -> None:
        """Watch until cancelled."""
        async with changes(self._bus) as news:
            while True:
                wake = await self.look()
                with anyio.move_on_after(max(0.0, wake - self._clock.now())):
                    await news.wait()
                    news.clear()

    async def look(self) -> Instant:
        """One look at the fleet and every client that is due, side by side; when to look again."""
        now = self._clock.now()
        wakes: list[Instant] = [later(now, RECHECK)]
        self._doubles = self._same_file()

        async def one(client: Client) -> None:
            wakes.append(await self._look_safely(client, now))

        async with anyio.create_task_group() as group:
            for client in self.clients():
                group.start_soon(one, client)
        return min(wakes)

    async def _look_safely(self, client: Client, now: Instant) -> Instant:
        """A look whose failure stays with this client, and is told as ours."""
        try:
            return await self._look_at(client, now)
        except Exception as error:  # noqa: BLE001 - one client's file must never end the others'
            why = f"mcpwatch failed on it ({type(error).__name__}: {error}); this is a fault of mcpwatch, not of the file"
            key = client_key(client)
            state = self._states.get(key) or State()
            self._states[key] = self._skipped(client, replace(state, error=why, next_look=later(now, RECHECK)), why)
            return later(now, RECHECK)

    async def _look_at(self, client: Client, now: Instant) -> Instant:
        async with self.alone(client):
            key, routes = client_key(client), self.routes()
            if key not in self._states and key not in self._doubles:
                await self.writer.reclaim(client, routes, self._token())
            state = self._states.get(key) or State(self._first_book(client))
            book, decision = self._decide(client, state.book, now)
            state = replace(state, book=book, decision=decision, reasons={**state.reasons, **decision.reasons})
            since = None if state.brought == (decision.on, decision.kept) else state.changing_since or now
            state = replace(state, changing_since=since)
            if now >= state.next_look or state.written_for != routes or ripe(state, now):
                state = await self._bring(client, state, routes, now)
            self._states[key] = state
            return min(state.next_look, decision.wake_at or state.next_look)

    def _same_file(self) -> dict[str, str]:
        """By its key, each client whose file another one before it has already: that one keeps it."""
        owners: dict[Path, str] = {}
        doubles: dict[str, str] = {}
        for client in self.clients():
            key = client_key(client)
            try:
                real = self.writer.path(client).resolve()
            except (OSError, RuntimeError):
                continue
            first = owners.setdefault(real, key)
            if first != key:
                doubles[key] = first
        return doubles

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

    def _decide(self, client: Client, book: Book, now: Instant) -> tuple[Book, ListingDecision]:
        spec = client.spec
        return self._advance(book, now, ListingRules(spec.policy, spec.hold_up, spec.hold_down))

    def _advance(self, book: Book, now: Instant, rules: ListingRules) -> tuple[Book, ListingDecision]:
        view, planned = self._fleet.view(), {route.name for route in self._fleet.plan().routes}
        return advance(book, seen_routes(view, planned), now, rules, proxy_up=proxy_up(view))

    async def _bring(self, client: Client, state: State, routes: tuple[ClientRoute, ...], now: Instant) -> State:
        """Write what is decided, unless the client is paused, and tell."""
        state = replace(state, next_look=later(now, RECHECK))
        if self.writer.ledger(client).paused:
            return state
        try:
            self._refuse_double(client)
            done = await self.writer.carry_out(client, replace(self.order(state.decision), routes=routes))
        except ClientFileError as error:
            return self._skipped(client, replace(state, error=str(error)), str(error))
        if done.written.changed:
            self.tell(file_written(client, self.writer.path(client), done, state.reasons, self._clock.wall()))
        state = brought(state, done, routes)
        left = [f"'{drift.entry}' {drift.text}" for drift in done.written.outcome.drift]
        left += [done.written.unsure] if done.written.unsure else []
        return self._skipped(client, state, "; ".join(left))

    def _skipped(self, client: Client, state: State, why: str) -> State:
        """Say once what keeps a file from being as it should."""
        if why and why != state.told:
            self.tell(file_skipped(client, str(self.writer.path(client)), why, self._clock.wall()))
        return replace(state, told=why)

    def tell(self, fact: Fact) -> None:
        """Put a fact of this room on the bus."""
        self._bus.publish(fact)

    # ---- what the commands need

    def clients(self) -> tuple[Client, ...]:
        """The clients of the plan in force."""
        return clients_of(self._fleet.plan())

    def routes(self) -> tuple[ClientRoute, ...]:
        """The routes of the plan in force, as clients see them."""
        return tuple(client_route(route) for route in self._fleet.plan().routes)

    def state(self, client: Client) -> State:
        """What was last found out about a client."""
        return self._states.get(client_key(client)) or State()

    async def ordered(self, client: Client, *, force: bool, dry_run: bool) -> Done:
        """Bring a client up to date because a person asked: a paused one goes on; with `force`, holds do not count.

        Raises `ClientFileError`.
        """
        self._doubles = self._same_file()
        self._refuse_double(client)
        async with self.alone(client):
            key, now = client_key(client), self._clock.now()
            state = self._states.get(key) or State(self._first_book(client))
            book, decision = self._decide(client, state.book, now)
            if force:
                book, decision = self._advance(book, now, ListingRules(client.spec.policy, 0.0, 0.0))
            order = replace(self.order(decision, dry_run=dry_run), force=force)
            done = await self.writer.carry_out(client, order)
            if dry_run:
                return done
            ledger = self.writer.ledger(client)
            if ledger.paused:
                self.writer.note(client, replace(ledger, paused=False))
            settled = replace(state, book=book, decision=decision, next_look=later(now, RECHECK))
            self._states[key] = brought(settled, done, order.routes)
            if done.written.changed:
                self.tell(file_written(client, self.writer.path(client), done, {"sync": "asked for"}, self._clock.wall()))
            return done

    @asynccontextmanager
    async def alone(self, client: Client) -> AsyncGenerator[None]:
        """The loop does not write this client's file meanwhile."""
        async with self._locks.setdefault(client_key(client), anyio.Lock()):
            yield

    def forget(self, client: Client) -> None:
        """Believe the ledger again about what is listed; what is known of the routes' health stays."""
        state = self._states.pop(client_key(client), None)
        if state is not None:
            listed = self._first_book(client).listed
            self._states[client_key(client)] = State(Book(state.book.held, listed))

    def _token(self) -> str:
        proxy = self._fleet.plan().proxy
        return proxy.tokens[0] if proxy and proxy.tokens else ""

    def order(self, decision: ListingDecision, *, dry_run: bool = False) -> Order:
        """An order as of now, for a command that decides itself."""
        return Order(self.routes(), decision, self._token(), self.tokens(), self._clock.wall(), dry_run=dry_run)

    def tokens(self) -> Tokens:
        """The proxy's tokens, past and present, by digest; those of now are noted."""
        proxy = self._fleet.plan().proxy
        present = [digest(token) for token in (proxy.tokens if proxy else ())]
        noted = loads(self.writer.store.recall(ROOM).get(TOKENS))
        if new := [mark for mark in present if mark not in noted]:
            self.writer.store.remember(ROOM, TOKENS, dumps([*noted, *new]))
        alive = frozenset(present) - self.going
        return Tokens(frozenset(noted) - alive, alive, self._token())

    def _refuse_double(self, client: Client) -> None:
        """Raises `ClientFileError` when an earlier entry of the configuration has this client's file."""
        other = self._doubles.get(client_key(client))
        if other is not None:
            raise ClientFileError(f"{self.writer.path(client)}: is the file of '{other}' too; only that one is kept up to date")

    def plan(self) -> Plan:
        """The plan in force; its `secrets` are what no answer may show."""
        return self._fleet.plan()
