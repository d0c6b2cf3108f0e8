"""One client brought up to date: what it should hold now, the note of intent, the write, the note of what was done. Shell.

Owns the order that makes ownership survive a crash: intent is durable before the file changes, the result after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mcpwatch.clients import openwebui
from mcpwatch.clients.adapter import Client, Skipped, Wanted, chosen
from mcpwatch.clients.adapters.open_webui import OpenWebUISpec
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.files import read, resolve
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.formats.path import read as read_path
from mcpwatch.clients.formats.path import write as spelled
from mcpwatch.clients.ledger import DECLINED, Ledger, dumps, loads
from mcpwatch.clients.location import Machine, name
from mcpwatch.clients.policy import ListingDecision
from mcpwatch.clients.reconcile import EVERYTHING, NOTHING, Keep, reclaim, reconcile
from mcpwatch.clients.route import ClientRoute
from mcpwatch.clients.sync import Job, Written, preview, sync, tidy
from mcpwatch.clients.threads import Threads
from mcpwatch.clients.tokens import Tokens, holds, masked
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.time import WallTime
from mcpwatch.ports import Store

ROOM = "clients"
LONGEST = 30.0
"""Seconds that reading, editing and writing one file may take, waiting for its lock included."""
FRESH = 2.0
"""Seconds after a change during which another may bear the same time."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do for one client: the routes there are, the decision about them, and how firmly."""

    routes: Sequence[ClientRoute]
    decision: ListingDecision
    token: str = field(default="", repr=False)
    tokens: Tokens = field(default=Tokens(), repr=False)
    at: WallTime = WallTime(0)
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order. `given` are the routes that the client's file really lists now, as far as they are of our writing."""

    written: Written
    skipped: tuple[Skipped, ...] = ()
    given: tuple[str, ...] = ()


class Writer:
    """Writes client files for one daemon. Not to be called twice at once for one client."""

    def __init__(self, store: Store, backups: Backups, machine: Machine, base: Callable[[], Path | None]) -> None:
        self.store = store
        self.backups = backups
        self.threads = Threads()
        self._machine = machine
        self._base = base
        self._last: dict[str, tuple[object, Done]] = {}
        """What a client's file was last found to need nothing for, by its name: an unchanged file then costs a stat."""

    def ledger(self, client: Client) -> Ledger:
        """What is known of a client's file."""
        return loads(self.store.recall(ROOM).get(self.name(client)))

    def note(self, client: Client, ledger: Ledger) -> None:
        """Remember a ledger."""
        self.store.remember(ROOM, self.name(client), dumps(ledger))

    def name(self, client: Client) -> str:
        """The client's name in the store."""
        return name(client, self.path(client))

    def path(self, client: Client) -> Path:
        """The client's file: the one we write already, even when another has appeared since that would come first."""
        base, known = self._base(), self.store.recall(ROOM)
        candidates = self._machine.candidates(client, base)
        ours = (path for path in candidates if loads(known.get(name(client, path))).entries)
        return next(ours, None) or self._machine.locate(client, base)

    def given(self, client: Client) -> tuple[str, ...]:
        """The names of the entries that mcpwatch wrote and has not taken out since, for when the file cannot be looked at."""
        ledger = self.ledger(client)
        box = client.adapter.box(client.spec)
        paths = [read_path(key) for key, mark in ledger.entries.items() if mark != DECLINED]
        return tuple(step if isinstance(step := path[-1], str) else step.value for path in paths if path[:-1] == box)

    def holds(self, client: Client, token: str) -> bool:
        """Whether the client's file holds `token`, as text or as its syntax spells it. In a thread."""
        try:
            text = self._text(client)
        except ClientFileError:
            return not client.adapter.reference and bool(self.given(client))
        return masked(text, (token,), "") != text

    def _text(self, client: Client) -> str:
        """What the client's file says now. In a thread. Raises `ClientFileError`."""
        if isinstance(client.spec, OpenWebUISpec):
            return openwebui.fetch(client.spec)
        path = self.path(client)
        return read(path, resolve(path)).text or ""

    async def reclaim(self, client: Client, routes: Sequence[ClientRoute], token: str) -> None:
        """Own again what a lost store forgot: entries of these routes that are what would be written. Never raises for a file."""
        ledger, meant = self.ledger(client), chosen(client.spec, routes)
        spellings = [client.adapter.wanted(client.spec, on, off, token) for on, off in ((meant, ()), ((), meant))]
        if all(ledger.owns(path) or ledger.declined(path) for path in spellings[0].routes):
            return

        def found() -> Ledger:
            return reclaim(client.adapter.syntax, self._text(client), spellings, ledger)

        with suppress(ClientFileError, EditRefused):  # what is wrong with it is told when it is to be brought up to date
            if (fuller := await self.threads.run(self.name(client), found)) != ledger:
                self.note(client, fuller)

    async def carry_out(self, client: Client, order: Order) -> Done:
        """Bring the client up to date. Raises `ClientFileError`; then its file is as it was."""
        ledger = self.ledger(client)
        wanted = self.wanted(client, order, ledger)
        return await self.write(client, wanted, ledger, order, keep=_keeps(client, wanted, order))

    async def write(self, client: Client, wanted: Wanted, ledger: Ledger, order: Order, *, keep: Keep = NOTHING) -> Done:
        """Make the client hold `wanted` of ours and no more."""
        order_key = (_stamp(self.path(client)), wanted, ledger, client.spec, order.force, keep, order.token, order.tokens)
        last = self._last.get(self.name(client))
        if last is not None and last[0] == order_key and order_key[0] is not None and not order.dry_run:
            return last[1]
        done = await self._write(client, wanted, ledger, order, keep=keep)
        settled = order_key[0] is not None and not done.written.changed and self.ledger(client) == ledger
        if settled and _stamp(self.path(client)) == order_key[0]:
            self._last[self.name(client)] = (order_key, done)
        else:
            self._last.pop(self.name(client), None)
        return done

    async def _write(self, client: Client, wanted: Wanted, ledger: Ledger, order: Order, *, keep: Keep) -> Done:
        render = partial(
            reconcile,
            client.adapter.syntax,
            wanted=wanted,
            ledger=ledger,
            overwrite=client.spec.drift == "overwrite",
            force=order.force,
            keep=keep,
            tokens=order.tokens,
        )
        secret = holds(wanted.entries.values(), order.token)
        place = client.adapter.places[client.spec.scope]
        until = time.monotonic() + LONGEST
        path = self.path(client)
        job = Job(client.spec.kind, path, lambda text: render(text=text), ledger, place.lock, secret, order.at, deadline=until)
        looked = await self.threads.run(self.name(client), partial(self._preview, client, job, order.dry_run))
        if not looked.changed or order.dry_run:
            if not order.dry_run and looked.outcome.ledger != ledger:
                self.note(client, looked.outcome.ledger)
            return _done(looked, wanted, order)
        self.note(client, ledger.intending(wanted.entries))
        await self.store.flush()
        written = await self.threads.run(self.name(client), partial(self._sync, client, job, looked))
        self.note(client, _dated(written.outcome.ledger, order.at))
        await self.store.flush()
        return _done(written, wanted, order)

    def wanted(self, client: Client, order: Order, ledger: Ledger) -> Wanted:
        """What the client should hold under the order's decision."""
        routes = {route.name: route for route in chosen(client.spec, order.routes)}
        on = [routes[route] for route in order.decision.on if route in routes]
        off = [routes[route] for route in order.decision.off if route in routes] if client.spec.policy == "disable" else []
        known = client.adapter.wanted(client.spec, [], off, order.token).routes
        off = [route for route in off if any(name == route.name and ledger.owns(path) for path, name in known.items())]
        return client.adapter.wanted(client.spec, on, off, order.token)

    def _preview(self, client: Client, job: Job, dry_run: bool) -> Written:
        if isinstance(client.spec, OpenWebUISpec):
            return openwebui.preview(job, client.spec)
        if not dry_run:
            tidy(job, self.backups)
        return preview(job)

    def _sync(self, client: Client, job: Job, looked: Written) -> Written:
        if isinstance(client.spec, OpenWebUISpec):
            return openwebui.sync(job, client.spec, self.backups)
        return sync(job, self.backups, looked=looked)


def _keeps(client: Client, wanted: Wanted, order: Order) -> Keep:
    if client.adapter.refuses_empty and not wanted.routes:
        return EVERYTHING
    if not order.decision.kept:
        return NOTHING
    stopped = [route for route in chosen(client.spec, order.routes) if route.name in order.decision.stopped]
    return Keep(frozenset(client.adapter.wanted(client.spec, stopped, [], order.token).routes))


def _done(written: Written, wanted: Wanted, order: Order) -> Done:
    entries, on = written.outcome.ledger.entries, set(order.decision.on)
    owned = (name for path, name in wanted.routes.items() if entries.get(spelled(path), DECLINED) != DECLINED)
    return Done(written, wanted.skipped, tuple(name for name in owned if name in on))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with every change of a file, or `None` where that is not sure: no file, or one changed a moment ago."""
    try:
        link, found = path.lstat(), path.stat()
    except OSError:
        return None
    if time.time() - found.st_mtime < FRESH:
        return None
    times = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return (link.st_ino, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, *times)


def _dated(ledger: Ledger, at: WallTime) -> Ledger:
    return Ledger(ledger.entries, ledger.pending, ledger.made, ledger.created, ledger.file, at, ledger.paused)
