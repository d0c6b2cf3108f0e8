"""One client brought up to date: what it should hold now, the note of intent, the write, the note of what was done. Shell.

Owns the order that makes ownership survive a crash: intent is durable before the file changes, the result after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread

from mcpwatch.clients import openwebui
from mcpwatch.clients.adapter import Skipped, Wanted, chosen
from mcpwatch.clients.adapters.open_webui import OpenWebUISpec
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.catalog import Client
from mcpwatch.clients.ledger import Ledger, dumps, loads
from mcpwatch.clients.location import Machine, name
from mcpwatch.clients.policy import Decision
from mcpwatch.clients.reconcile import reconcile
from mcpwatch.clients.route import ClientRoute
from mcpwatch.clients.sync import Job, Written, preview, sync
from mcpwatch.model.time import WallTime
from mcpwatch.ports import Store

ROOM = "clients"


@dataclass(frozen=True, slots=True)
class Order:
    """What to do for one client: the routes there are, the decision about them, and how firmly."""

    routes: Sequence[ClientRoute]
    decision: Decision
    token: str = field(default="", repr=False)
    at: WallTime = WallTime(0)
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order."""

    written: Written
    skipped: tuple[Skipped, ...] = ()


class Writer:
    """Writes client files for one daemon. Not to be called twice at once for one client."""

    def __init__(self, store: Store, backups: Backups, machine: Machine, base: Callable[[], Path | None]) -> None:
        self.store = store
        self.backups = backups
        self._machine = machine
        self._base = base

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

    async def carry_out(self, client: Client, order: Order) -> Done:
        """Bring the client up to date. Raises `ClientFileError`; then its file is as it was."""
        ledger = self.ledger(client)
        wanted = self.wanted(client, order, ledger)
        return await self.write(client, wanted, ledger, order, keep=self._keeps(client, wanted, order))

    async def write(self, client: Client, wanted: Wanted, ledger: Ledger, order: Order, *, keep: bool = False) -> Done:
        """Make the client hold `wanted` of ours and no more."""
        render = partial(
            reconcile,
            client.adapter.syntax,
            wanted=wanted,
            ledger=ledger,
            overwrite=client.spec.drift == "overwrite",
            force=order.force,
            keep=keep,
        )
        secret = bool(order.token) and order.token in str(dict(wanted.entries))
        place = client.adapter.places[client.spec.scope]
        job = Job(client.spec.kind, self.path(client), lambda text: render(text=text), ledger, place.lock, secret, order.at)
        looked = await anyio.to_thread.run_sync(self._preview, client, job)
        if not looked.changed or order.dry_run:
            if not order.dry_run and looked.outcome.ledger != ledger:
                self.note(client, looked.outcome.ledger)
            return Done(looked, wanted.skipped)
        self.note(client, ledger.intending(wanted.entries))
        await self.store.flush()
        written = await anyio.to_thread.run_sync(self._sync, client, job)
        self.note(client, _dated(written.outcome.ledger, order.at))
        await self.store.flush()
        return Done(written, wanted.skipped)

    def wanted(self, client: Client, order: Order, ledger: Ledger) -> Wanted:
        """What the client should hold under the order's decision."""
        routes = {route.name: route for route in chosen(client.spec, order.routes)}
        on = [routes[route] for route in order.decision.on if route in routes]
        off = [routes[route] for route in order.decision.off if route in routes] if client.spec.policy == "disable" else []
        known = client.adapter.wanted(client.spec, [], off, order.token).routes
        off = [route for route in off if any(name == route.name and ledger.owns(path) for path, name in known.items())]
        return client.adapter.wanted(client.spec, on, off, order.token)

    @staticmethod
    def _keeps(client: Client, wanted: Wanted, order: Order) -> bool:
        return bool(order.decision.kept) or (client.adapter.refuses_empty and not wanted.routes)

    @staticmethod
    def _preview(client: Client, job: Job) -> Written:
        if isinstance(client.spec, OpenWebUISpec):
            return openwebui.preview(job, client.spec)
        return preview(job)

    def _sync(self, client: Client, job: Job) -> Written:
        if isinstance(client.spec, OpenWebUISpec):
            return openwebui.sync(job, client.spec, self.backups)
        return sync(job, self.backups)


def _dated(ledger: Ledger, at: WallTime) -> Ledger:
    return Ledger(ledger.entries, ledger.pending, ledger.made, ledger.created, ledger.file, at, ledger.paused)
