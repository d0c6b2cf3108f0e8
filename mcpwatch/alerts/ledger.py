"""The book and the outbox as one durable value: decided and to-be-sent are written together or not at all. Knows no receiver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcpwatch.alerts.book import AlertBook, Notification, dump, load
from mcpwatch.alerts.observe import restarted
from mcpwatch.alerts.outbox import Outbox
from mcpwatch.alerts.policy import lost
from mcpwatch.clock import Clock
from mcpwatch.ports import Store

ROOM, KEY = "alerts", "state"
FLUSH_MAX = 5.0
"""Seconds to wait for the disk before a notification is handed over all the same: a full disk must not silence alerts."""


@dataclass(frozen=True, slots=True)
class SavedAlerts:
    """What is kept of this room."""

    book: AlertBook = AlertBook()
    outbox: Outbox = Outbox()


class AlertLedger:
    """The present book and outbox. Change them only through here, and never across an await."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self.unreadable = ""
        self.book, self.outbox = AlertBook(), Outbox()
        text = store.recall(ROOM).get(KEY)
        if text:
            try:
                kept = load(SavedAlerts, text)
                self.book, self.outbox = restarted(kept.book, clock.wall()), kept.outbox.recovered()
            except ValueError:
                self.unreadable = "the alerts kept from before cannot be read; beginning with none"
        self._saved = SavedAlerts(_slim(self.book), self.outbox)

    def put(self, book: AlertBook, notifications: Iterable[Notification] = ()) -> tuple[Notification, ...]:
        """A new book and what it wants sent, kept together. Returns what the outbox had no room for."""
        self.book = book
        self.outbox, dropped = self.outbox.add(notifications)
        self._save()
        return dropped

    def set_outbox(self, outbox: Outbox) -> None:
        """A new outbox, kept."""
        self.outbox = outbox
        self._save()

    def lose(self, gone: Notification, why: str) -> None:
        """A notification never reaches its receiver: it leaves the outbox, and the book says so in the same write."""
        self.book, self.outbox = lost(self.book, gone, why), self.outbox.without(gone.id)
        self._save()

    async def flush(self) -> None:
        """Return when everything put so far is on disk, or after `FLUSH_MAX`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_MAX):
                await self._store.flush()

    def _save(self) -> None:
        kept = SavedAlerts(_slim(self.book), self.outbox)
        if kept != self._saved:
            self._store.remember(ROOM, KEY, dump(kept))
            self._saved = kept


def _slim(book: AlertBook) -> AlertBook:
    """Without what the next look at the fleet tells anyway."""
    members = {alert.member for alert in book.alerts.values()}
    routes = {alert.route for alert in book.alerts.values()}
    return replace(
        book,
        members={name: seen for name, seen in book.members.items() if name in members},
        routes={name: seen for name, seen in book.routes.items() if name in routes},
    )
