"""The room as the daemon runs it: listens, decides, keeps the ledger, runs one worker per receiver, and reloads without losing any.

Start it when the fleet has begun. When the watchdog says it stops, nothing more is decided: what it then stops has not failed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcpwatch.alerts.api import Handlers, handlers
from mcpwatch.alerts.book import AlertBook, AlertSnapshot, AlertState, Notification
from mcpwatch.alerts.deadline import LATE, next_look
from mcpwatch.alerts.dispatch import Worker
from mcpwatch.alerts.ledger import AlertLedger
from mcpwatch.alerts.message import scrub, title
from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.alerts.observe import Event
from mcpwatch.alerts.policy import advance
from mcpwatch.alerts.receiver import ReceiverSpec
from mcpwatch.alerts.snapshot import snapshot
from mcpwatch.alerts.spec import AlertsSpec, rules
from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model import fact as facts
from mcpwatch.model.fact import AlertChanged, Fact, NotificationFailed, Troubled
from mcpwatch.model.view import FleetView
from mcpwatch.ports import Store, SupervisedFleet
from mcpwatch.registry import find

VIEW_EVERY = 10.0
"""Seconds between looks at the whole fleet while an alert is open: they tell when it was checked last."""
EMPTY_GRACE = 60.0
"""Seconds after the start for which a fleet without members is taken as not there yet."""

HEARD: tuple[type[Fact], ...] = (
    facts.MemberChanged, facts.RouteChanged, facts.MemberExited, facts.MemberStarted, facts.Diagnosed, facts.RepairTried,
    facts.RepairProved, facts.ToolsChanged, facts.Troubled, facts.ConfigRejected, facts.PlanApplied, facts.WatchGap,
    facts.DaemonStopped,
)  # fmt: skip


class Alerts:
    """The room. `run` until cancelled; `handlers` is what the control socket serves."""

    def __init__(self, fleet: SupervisedFleet, store: Store, bus: Bus, clock: Clock, spec: object = None) -> None:
        self._fleet = fleet
        self._bus = bus
        self.clock = clock
        self.spec = AlertsSpec.or_default(spec)
        self.rules = rules(self.spec)
        self.ledger = AlertLedger(store, clock)
        self.workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._specs: dict[str, ReceiverSpec] = {}
        self._inbox: list[Fact] = []
        self._wake = asyncio.Event()
        self._subscription = bus.subscribe(*HEARD)
        self._dropped = 0
        self._started = clock.now()
        self._viewed = float("-inf")
        self._running = self._stopping = self._met = False
        self._staff()
        self.handlers: Handlers = handlers(self)

    async def run(self) -> None:
        """Listen, decide and deliver until cancelled; a hand-over in progress is given a moment to end."""
        if self.ledger.unreadable:
            self._bus.publish(Troubled(at=self.clock.wall(), text=self.ledger.unreadable, level="warning", subject="alerts"))
        self._open()
        reader = asyncio.create_task(self._read())
        self._running = True
        self._staff()
        try:
            while True:
                self._raise_failed()
                await self._step()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rest()):  # `wait_for` loses a cancellation that meets its end
                        await self._wake.wait()
                self._wake.clear()
        finally:
            self._running = False
            self._subscription.close()
            tasks = (reader, *self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.clear()

    def _open(self) -> None:
        """Listen again after a failure, and take the fleet as it is now: facts were missed."""
        if self._subscription.closed:
            self._subscription = self._bus.subscribe(*HEARD)
            self._dropped, self._viewed = -1, float("-inf")

    def _raise_failed(self) -> None:
        """A worker that failed fails the service, which is started again as a whole."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def reload(self, spec: object) -> None:
        """Take a new configuration: open alerts, silences and what waits to be sent stay as they are."""
        self.spec = AlertsSpec.or_default(spec)
        self.rules = rules(self.spec)
        self._staff()
        self._wake.set()

    def change(self, book: AlertBook) -> None:
        """A book that an operator changed: keep it, and see at once what follows."""
        self._decide(book, ())
        self._wake.set()

    def firing(self, receiver: str) -> Sequence[AlertSnapshot]:
        """What this receiver believes fires, as it is now."""
        book = self.ledger.book
        told = [alert for alert in book.alerts.values() if any(one.receiver == receiver for one in alert.believed)]
        return self._scrubbed(tuple(snapshot(book, alert, receiver) for alert in told))

    def summary(self) -> dict[str, Any]:
        """Counts for metrics: firing by severity, muted by why, pending, waiting in the outbox by receiver, silences."""
        book = self.ledger.book
        found: dict[str, Any] = {"firing": {}, "muted": {}, "outbox": dict.fromkeys(self.workers, 0)}
        for alert in book.alerts.values():
            if alert.state is AlertState.FIRING:
                found["firing"][str(alert.severity)] = found["firing"].get(str(alert.severity), 0) + 1
            if alert.muted:
                why = alert.muted.split(" ", 1)[0]
                found["muted"][why] = found["muted"].get(why, 0) + 1
        for entry in self.ledger.outbox.entries:
            name = entry.notification.receiver
            found["outbox"][name] = found["outbox"].get(name, 0) + 1
        pending = sum(alert.state is AlertState.PENDING for alert in book.alerts.values())
        return {**found, "pending": pending, "silences": len(book.silences)}

    # deciding

    async def _read(self) -> None:
        async for fact in self._subscription:
            if isinstance(fact, facts.DaemonStopped):
                self._stopping = True
            if not self._stopping:
                self._inbox.append(fact)
            self._wake.set()

    async def _step(self) -> None:
        await asyncio.sleep(0)  # let the reader take what was published before this view of the fleet
        if self._stopping:
            return
        events: list[Event] = list(self._scrubbed(tuple(self._inbox)))
        self._inbox.clear()
        lost = self._subscription.dropped != self._dropped
        if lost or (self._looks() and self.clock.now() - self._viewed >= VIEW_EVERY):
            self._dropped, self._viewed = self._subscription.dropped, self.clock.now()
            view = self._fleet.view()
            self._met = self._met or bool(view.members) or self.clock.now() - self._started > EMPTY_GRACE
            if self._met:
                await asyncio.sleep(0)  # of a thousand members each of the three takes a while: others have their turn in between
                events.append(self._scrubbed_view(view))
                await asyncio.sleep(0)
                if self._stopping:
                    return
        self._decide(self.ledger.book, events)

    def _looks(self) -> bool:
        """Whether the fleet is looked at without being told to: until it is there, and while an alert is open."""
        return not self._met or any(alert.open for alert in self.ledger.book.alerts.values())

    def _rest(self) -> float | None:
        """Seconds until time alone may change anything; `None`: it will not, a fact or a command must."""
        if self._stopping:
            return None
        wall = self.clock.wall()
        look = next_look(self.ledger.book, wall, self.rules)
        waits = [] if look is None else [max(0.0, look - wall)]
        if self._looks():
            waits.append(max(0.0, self._viewed + VIEW_EVERY + LATE - self.clock.now()))
        return min(waits, default=None)

    def _decide(self, before: AlertBook, events: Sequence[Event]) -> None:
        book, notifications = advance(before, events, self.clock.wall(), self.rules)
        dropped = self.ledger.put(book, self._scrubbed(notifications))
        self._tell_dropped(dropped, "there are too many for this receiver already")
        self._tell_changes(before, book)
        self._drop_orphans()
        self._wake_workers()

    def _tell_changes(self, before: AlertBook, after: AlertBook) -> None:
        for key, alert in after.alerts.items():
            old = before.alerts[key].state if key in before.alerts else AlertState.PENDING
            begun = alert.state is AlertState.FIRING and old is not AlertState.FIRING
            ended = alert.state is AlertState.RESOLVED and old is AlertState.FIRING
            if begun or ended:
                text = f"alert {key} {'fires' if begun else 'is resolved'}" + (f" ({alert.why})" if begun and alert.why else "")
                self._bus.publish(
                    AlertChanged(
                        at=self.clock.wall(),
                        text=text,
                        level="warning" if begun else "info",
                        member=alert.member,
                        alert=alert.name,
                        old=str(old),
                        new=str(alert.state),
                        severity=str(alert.severity),
                    )
                )

    def _tell_dropped(self, dropped: Sequence[Notification], why: str) -> None:
        for one in dropped:
            self.ledger.lose(one, why)
            self._bus.publish(
                NotificationFailed(
                    at=self.clock.wall(),
                    text=f"{one.receiver} will not be told ({why}): {title(one)}",
                    level="error",
                    receiver=one.receiver,
                    alert=one.items[0].id if one.items else "",
                    permanent=True,
                )
            )

    # receivers

    def _staff(self) -> None:
        """One worker per receiver of the configuration; those whose spec did not change go on as they are."""
        wanted = self.spec.receivers
        for name in [name for name in self._specs if self._specs[name] != wanted.get(name)]:
            del self._specs[name], self.workers[name]
            if name in self._tasks:
                going = self._tasks.pop(name)
                going.add_done_callback(lambda _: self._wake_workers())  # a successor waits for its last hand-over
                going.cancel()
        for name, spec in wanted.items():
            kind = find(NOTIFIERS, str(getattr(spec, "kind", "")))
            if name in self.workers or kind is None:
                continue
            worker = Worker(
                name,
                kind.make(spec),
                spec.timeout,
                ledger=self.ledger,
                firing=self.firing,
                clock=self.clock,
                publish=self._bus.publish,
                hide=self._scrubbed,
            )
            self._specs[name], self.workers[name] = spec, worker
        if self._running:
            for name, worker in self.workers.items():
                if name not in self._tasks:
                    task = self._tasks[name] = asyncio.create_task(worker.run(), name=f"alerts to {name}")
                    task.add_done_callback(lambda _: self._wake.set())

    def _wake_workers(self) -> None:
        for worker in self.workers.values():
            worker.wake()

    def _drop_orphans(self) -> None:
        orphans = [one.notification for one in self.ledger.outbox.entries if one.notification.receiver not in self.spec.receivers]
        self._tell_dropped(orphans, "this receiver is no longer configured")

    # secrets

    def _scrubbed(self, value: Any) -> Any:
        return scrub(value, self._fleet.plan().secrets)

    def _scrubbed_view(self, view: FleetView) -> FleetView:
        secrets = self._fleet.plan().secrets
        return replace(
            view,
            members=tuple(replace(one, reason=scrub(one.reason, secrets)) for one in view.members),
            routes=tuple(replace(one, message=scrub(one.message, secrets)) for one in view.routes),
            diagnoses=scrub(view.diagnoses, secrets),
        )
