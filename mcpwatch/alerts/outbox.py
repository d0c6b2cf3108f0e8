"""The outbox: notifications that a receiver does not have yet. Pure; kept with the book, in one piece.

A notification enters in the same write as the book that decided it, and leaves when its receiver took it. Per receiver the order
is kept: an end never overtakes its beginning. While one is being handed over it is marked, and the mark is on disk first; after a
crash a marked one may or may not have arrived, so it is handed over again under the same id, and says that it may be a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mcpwatch.alerts.book import Notification, Reason
from mcpwatch.model.time import WallTime

BACKOFF_FIRST = 2.0
BACKOFF_MAX = 300.0
"""Seconds between attempts: doubled from the first to the longest, times a spread of 0.5 to 1."""
PER_RECEIVER_MAX = 500
"""Notifications kept for one receiver; reminders go first, then the oldest, and each is told as failed."""
ERROR_MAX = 300


@dataclass(frozen=True, slots=True)
class QueuedNotification:
    """One notification on its way. `sending` since the hand-over began, `unclear` when a crash came in between."""

    notification: Notification
    attempts: int = 0
    next_at: WallTime = WallTime(0)
    sending: bool = False
    unclear: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outbox:
    """All entries, oldest first."""

    entries: tuple[QueuedNotification, ...] = ()

    def add(self, notifications: Iterable[Notification]) -> tuple[Outbox, tuple[Notification, ...]]:
        """With more notifications; also what had to be dropped for want of room."""
        entries = (*self.entries, *(QueuedNotification(one) for one in notifications))
        dropped: list[Notification] = []
        for receiver in {entry.notification.receiver for entry in entries}:
            own = [entry for entry in entries if entry.notification.receiver == receiver]
            surplus = len(own) - PER_RECEIVER_MAX
            if surplus > 0:
                waiting = [entry for entry in own if not entry.sending]
                waiting.sort(key=lambda entry: entry.notification.reason is not Reason.REPEAT)
                gone = {entry.notification.id for entry in waiting[:surplus]}
                dropped += [entry.notification for entry in own if entry.notification.id in gone]
                entries = tuple(entry for entry in entries if entry.notification.id not in gone)
        return Outbox(entries), tuple(dropped)

    def next_for(self, receiver: str) -> QueuedNotification | None:
        """The oldest entry of a receiver: the only one that may be handed over, and not before its `next_at`."""
        return next((entry for entry in self.entries if entry.notification.receiver == receiver), None)

    def sending(self, id_: str) -> Outbox:
        """With the hand-over of an entry begun."""
        return self._with(id_, lambda entry: replace(entry, sending=True, attempts=entry.attempts + 1))

    def without(self, id_: str) -> Outbox:
        """Without an entry: its receiver has it, or never will."""
        return Outbox(tuple(entry for entry in self.entries if entry.notification.id != id_))

    def failed(self, id_: str, now: WallTime, error: str, spread: float, retry_after: float | None = None) -> Outbox:
        """With an entry put off. `spread` in [0, 1) is the caller's chance."""

        def later(entry: QueuedNotification) -> QueuedNotification:
            pause = retry_after if retry_after is not None else backoff(entry.attempts, spread)
            return replace(entry, sending=False, next_at=WallTime(now + pause), error=error[:ERROR_MAX])

        return self._with(id_, later)

    def left_unclear(self, id_: str) -> Outbox:
        """With the hand-over of an entry cut off: it may or may not have arrived."""
        return self._with(id_, lambda entry: replace(entry, sending=False, unclear=True))

    def recovered(self) -> Outbox:
        """As a new watchdog takes it over: what was being handed over is unclear, and everything is due at once."""
        return Outbox(
            tuple(
                replace(entry, sending=False, unclear=entry.unclear or entry.sending, next_at=WallTime(0)) for entry in self.entries
            )
        )

    def _with(self, id_: str, change: Callable[[QueuedNotification], QueuedNotification]) -> Outbox:
        return Outbox(tuple(change(entry) if entry.notification.id == id_ else entry for entry in self.entries))


def backoff(attempts: int, spread: float) -> float:
    """Seconds to wait after that many attempts."""
    return min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(attempts - 1, 16)) * (0.5 + spread / 2)
