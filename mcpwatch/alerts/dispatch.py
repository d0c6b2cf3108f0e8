"""Hands what is in the outbox to one receiver, one at a time, in order, within its time. Decides nothing about alerts.

Before each hand-over the mark "sending" is on disk, after it the entry is gone: only a crash in between leaves it unclear.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from mcpwatch.alerts.book import AlertSnapshot, Notification
from mcpwatch.alerts.ledger import AlertLedger
from mcpwatch.alerts.message import title
from mcpwatch.alerts.outbox import QueuedNotification
from mcpwatch.alerts.receiver import Notifier
from mcpwatch.clock import Clock
from mcpwatch.model.errors import NotifyFailed
from mcpwatch.model.fact import NotificationFailed, NotificationSent
from mcpwatch.model.time import Instant
from mcpwatch.ports import Publish

WAIT_MAX = 3600.0
"""A `next_at` farther away than this was written before the clock was set back: it is due."""
PREPARE_MAX = 60.0
"""Seconds a notifier has to get ready before its first delivery."""
DRAIN = 5.0
"""Seconds a hand-over in progress is given to end when the watchdog stops."""


class Worker:
    """The one task of one receiver."""

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        timeout: float,
        *,
        ledger: AlertLedger,
        firing: Callable[[str], Sequence[AlertSnapshot]],
        clock: Clock,
        publish: Publish,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self.notifier = notifier
        self.timeout = timeout
        self._ledger = ledger
        self._firing = firing
        self._clock = clock
        self._publish = publish
        self._hide = hide
        self._wake = asyncio.Event()
        self._stated_at: Instant | None = None
        self._deaf = False

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                self._wake.clear()
                pause = await self._once()
                if pause is None or pause > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
        finally:
            await self.notifier.close()

    async def _once(self) -> float | None:
        """Do what is due. Returns seconds until something may be due again; `None`: when it is woken."""
        entry = self._ledger.outbox.next_for(self.name)
        if entry is not None and entry.sending:
            return None  # by this worker's predecessor, before a reload: its end wakes this one
        if entry is not None:
            wait = entry.next_at - self._clock.wall()
            if not 0 < wait < WAIT_MAX:
                await self._deliver(entry)
                return 0.0
            return wait
        return await self._restated(self.notifier.restate)

    async def _restated(self, every: float | None) -> float | None:
        """Say again what fires, `every` so many seconds after it was told. Returns seconds until the next time, if there is one."""
        items = self._firing(self.name) if every is not None else ()
        if every is None or not items:
            self._stated_at = None
            return None
        now = self._clock.now()
        if self._stated_at is None:
            self._stated_at = now
        if now < self._stated_at + every:
            return self._stated_at + every - now
        self._stated_at = now
        await self._state(items)
        return every

    async def _deliver(self, entry: QueuedNotification) -> None:
        id_ = entry.notification.id
        self._ledger.set_outbox(self._ledger.outbox.sending(id_))
        await self._ledger.flush()
        handing = asyncio.create_task(self.attempt(replace(entry.notification, perhaps_again=entry.unclear)))
        try:
            failure = await asyncio.shield(handing)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({handing}, timeout=DRAIN)
            if done:
                self._settle(entry.notification, handing.result())
            else:
                handing.cancel()
                self._ledger.set_outbox(self._ledger.outbox.left_unclear(id_))
            raise
        self._settle(entry.notification, failure)

    async def attempt(self, notification: Notification) -> NotifyFailed | None:
        """Hand one notification over, within the receiver's time. Returns why it failed (without secrets), or `None`."""
        try:
            async with asyncio.timeout(PREPARE_MAX):
                await self.notifier.prepare()
            async with asyncio.timeout(self.timeout):
                await self.notifier.notify(notification)
        except NotifyFailed as failure:
            return NotifyFailed(self._hide(str(failure)), retryable=failure.retryable, retry_after=failure.retry_after)
        except TimeoutError:
            return NotifyFailed(f"no answer within {self.timeout:g} s", retryable=True)
        except Exception as error:  # noqa: BLE001 - a faulty receiver must never stop the others
            return NotifyFailed(f"the receiver itself failed: {type(error).__name__}", retryable=False)
        return None

    def _settle(self, notification: Notification, failure: NotifyFailed | None) -> None:
        outbox, at = self._ledger.outbox, self._clock.wall()
        about = notification.items[0].id if notification.items else ""
        if failure is None:
            self._ledger.set_outbox(outbox.without(notification.id))
            self._publish(NotificationSent(at=at, text=f"told {self.name}: {title(notification)}", receiver=self.name, alert=about))
            return
        if failure.retryable:
            spread = random.random()  # noqa: S311 - spreads retries, guards nothing
            self._ledger.set_outbox(outbox.failed(notification.id, at, str(failure), spread, failure.retry_after))
        else:
            self._ledger.lose(notification, str(failure))
        words = "will be tried again" if failure.retryable else "cannot be delivered"
        self._publish(
            NotificationFailed(
                at=at,
                text=f"{self.name} was not told ({words}): {failure}",
                level="warning" if failure.retryable else "error",
                receiver=self.name,
                alert=about,
                permanent=not failure.retryable,
            )
        )

    async def _state(self, items: Sequence[AlertSnapshot]) -> None:
        """Say what fires, to a receiver that would forget it."""
        try:
            async with asyncio.timeout(self.timeout):
                await self.notifier.state(items, self._clock.wall())
        except (NotifyFailed, TimeoutError) as error:
            if not self._deaf:
                self._deaf = True
                text = f"{self.name} did not hear what still fires: {self._hide(str(error)) or 'no answer'}"
                at = self._clock.wall()
                self._publish(NotificationFailed(at=at, text=text, level="warning", receiver=self.name, alert=items[0].id))
        else:
            self._deaf = False
