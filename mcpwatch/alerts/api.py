"""What the command line and the page may ask of this room: one function per path, JSON in and JSON out. Decides nothing."""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast

from mcpwatch.alerts.book import (
    Acknowledgement,
    Alert,
    AlertBook,
    AlertSnapshot,
    AlertState,
    Notification,
    Reason,
    Severity,
    Silence,
)
from mcpwatch.alerts.dispatch import Worker
from mcpwatch.alerts.ledger import AlertLedger
from mcpwatch.alerts.outbox import Outbox
from mcpwatch.alerts.policy import acknowledge, expire, silence
from mcpwatch.alerts.routing import AlertPolicy
from mcpwatch.alerts.silence import LABELS, Window
from mcpwatch.clock import Clock
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.json import plain
from mcpwatch.model.time import WallTime, iso
from mcpwatch.units import seconds

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
Handlers = dict[tuple[str, str], Handler]

PATHS: tuple[tuple[str, str, str, str], ...] = (
    ("GET", "/alerts", "`all` (also the lately ended)", "`alerts`, `outbox`, `receivers`"),
    ("POST", "/alerts/test", "`receiver` (default: all)", "`results`: `receiver`, `ok`, `error`"),
    ("POST", "/alerts/ack", "`alert` (id or name), `comment`, `by`", "`acknowledged`: ids"),
    ("GET", "/silences", "", "`silences`"),
    ("POST", "/silences", "`targets`, `for`, `comment`, `by`", "the silence, with its `id`"),
    ("POST", "/silences/expire", "`id`", "`ended`: ids"),
    ("GET", "/maintenance", "", "`maintenance` by hand, `windows` of the configuration"),
    ("POST", "/maintenance", "`targets` (default: everything), `for`, `comment`, `by`", "the maintenance, with its `id`"),
    ("POST", "/maintenance/stop", "`id` (default: all started by hand)", "`ended`: ids"),
)
"""Every path of this room: method, path, body, answer."""
FOR_DEFAULT = 3600.0
FOR_MAX = 366 * 86400.0


class AlertOperations(Protocol):
    """What the handlers need of the service."""

    ledger: AlertLedger
    rules: AlertPolicy
    clock: Clock
    workers: dict[str, Worker]

    def change(self, book: AlertBook) -> None:
        """Keep a book that an operator changed."""
        ...


def handlers(room: AlertOperations) -> Handlers:
    """Every path of this room."""
    api = _AlertsApi(room)
    return {
        ("GET", "/alerts"): api.list_alerts,
        ("POST", "/alerts/test"): api.test,
        ("POST", "/alerts/ack"): api.ack,
        ("GET", "/silences"): api.list_silences,
        ("POST", "/silences"): partial(api.add, maintenance=False),
        ("POST", "/silences/expire"): partial(api.end, maintenance=False),
        ("GET", "/maintenance"): api.list_maintenance,
        ("POST", "/maintenance"): partial(api.add, maintenance=True),
        ("POST", "/maintenance/stop"): partial(api.end, maintenance=True),
    }


class _AlertsApi:
    """One method for each path."""

    def __init__(self, room: AlertOperations) -> None:
        self._room = room

    async def list_alerts(self, body: dict[str, Any]) -> Any:
        room = self._room
        now, everything = room.clock.wall(), _flag(body, "all")
        shown = [one for one in room.ledger.book.alerts.values() if everything or one.open or one.believed]
        shown.sort(key=lambda one: (not one.open, -one.severity.rank, one.since, one.id))
        return {
            "version": 1,
            "alerts": [_alert(one, now, room.ledger.outbox) for one in shown],
            "outbox": _outbox(room.ledger.outbox),
            "receivers": sorted(room.workers),
        }

    async def test(self, body: dict[str, Any]) -> Any:
        room, wanted = self._room, str(body.get("receiver") or "")
        if wanted and wanted not in room.workers:
            raise UsageError(f"no receiver '{wanted}'{suggest(wanted, room.workers)}")
        names = [wanted] if wanted else sorted(room.workers)
        if not names:
            raise UsageError("no receivers are configured; write one under alerts.receivers")
        return {"results": await asyncio.gather(*(_test(room.workers[name], room.clock.wall()) for name in names))}

    async def ack(self, body: dict[str, Any]) -> Any:
        who = Acknowledgement(_by(body), self._room.clock.wall(), str(body.get("comment") or ""))
        book, taken = acknowledge(self._room.ledger.book, str(body.get("alert") or ""), who)
        self._room.change(book)
        return {"acknowledged": taken}

    async def add(self, body: dict[str, Any], *, maintenance: bool) -> Any:
        made = _silence(body, self._room.clock.wall(), maintenance=maintenance)
        self._room.change(silence(self._room.ledger.book, made))
        return _shown(made)

    async def end(self, body: dict[str, Any], *, maintenance: bool) -> Any:
        which = str(body.get("id") or "")
        if not which and not maintenance:
            raise UsageError("say which silence: its id; see 'mcpwatch silence list'")
        book, ended = expire(self._room.ledger.book, which, maintenance=maintenance)
        self._room.change(book)
        return {"ended": [one.id for one in ended]}

    async def list_silences(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        return {"silences": [_shown(one) for one in self._room.ledger.book.silences if not one.maintenance]}

    async def list_maintenance(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        room, now = self._room, self._room.clock.wall()
        started = [{**_shown(one), "active": one.since <= now} for one in room.ledger.book.silences if one.maintenance]
        return {"maintenance": started, "windows": [_configured(window, now) for window in room.rules.windows]}


async def _test(worker: Worker, now: WallTime) -> dict[str, Any]:
    """Send a test message, and its end to a receiver that would keep it open. Bounded by the receiver's timeout, each."""
    states = (AlertState.FIRING, AlertState.RESOLVED) if worker.notifier.keeps_open else (AlertState.FIRING,)
    for state in states:
        item = AlertSnapshot(
            "test:mcpwatch",
            "test",
            "mcpwatch",
            Severity.INFO,
            state,
            since=now,
            resolved_at=now if state is AlertState.RESOLVED else None,
            why="this is a test; nothing is wrong",
        )
        id_ = f"test{secrets.token_hex(6)}"
        failure = await worker.attempt(Notification(id_, worker.name, Reason.TEST, state, "test", now, (item,)))
        if failure is not None:
            return {"receiver": worker.name, "ok": False, "error": str(failure), "retryable": failure.retryable}
    return {"receiver": worker.name, "ok": True, "error": "", "retryable": False}


def _silence(body: Mapping[str, Any], now: WallTime, *, maintenance: bool) -> Silence:
    targets: Any = body.get("targets") or []
    if not isinstance(targets, list) or not all(isinstance(one, str) for one in cast("list[object]", targets)):
        raise UsageError("targets: a list of names or label=pattern")
    match = tuple(_pattern(one) for one in cast("list[str]", targets))
    if not match and not maintenance:
        raise UsageError("say what to silence: the name of a member or route, or label=pattern")
    try:
        lasts = seconds(body.get("for") or FOR_DEFAULT)
    except ValueError as error:
        raise UsageError(f"for: {error}") from error
    if not 0 < lasts <= FOR_MAX:
        raise UsageError("for: more than zero and at most 366 days")
    id_ = ("m" if maintenance else "s") + secrets.token_hex(3)
    comment = str(body.get("comment") or "")
    return Silence(id_, _joined(match), now, WallTime(now + lasts), _by(body), comment, maintenance)


def _pattern(target: str) -> tuple[str, str]:
    label, equals, pattern = target.partition("=")
    if not equals:
        return "name", target
    if label not in LABELS:
        raise UsageError(f"no label '{label}'{suggest(label, LABELS)}")
    return label, pattern


def _joined(match: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Several targets for one label are alternatives."""
    found: dict[str, str] = {}
    for label, pattern in match:
        found[label] = f"{found[label]}|{pattern}" if label in found else pattern
    return tuple(found.items())


def _by(body: Mapping[str, Any]) -> str:
    by = str(body.get("by") or "")
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _flag(body: Mapping[str, Any], name: str) -> bool:
    return str(body.get(name, "")).lower() in {"1", "true", "yes"}


def _alert(alert: Alert, now: WallTime, outbox: Outbox) -> dict[str, Any]:
    end = alert.resolved_at if alert.resolved_at is not None else now
    body = {key: value for key, value in plain(alert).items() if key not in ("flips", "released_at", "unmuted_at", "expires_at")}
    waits = {
        one.notification.receiver
        for one in outbox.entries
        if one.notification.reason is not Reason.REPEAT and any(item.id == alert.id for item in one.notification.items)
    }
    body["told"] = [{**plain(one), "arrived": not one.failed and one.receiver not in waits} for one in alert.told]
    return {"id": alert.id, **body, "seconds": round(max(0.0, end - alert.since), 3)}


def _outbox(outbox: Outbox) -> list[dict[str, Any]]:
    return [
        {
            "id": one.notification.id,
            "receiver": one.notification.receiver,
            "reason": str(one.notification.reason),
            "alerts": [item.id for item in one.notification.items],
            "attempts": one.attempts,
            "next_at": iso(one.next_at) if one.next_at else None,
            "error": one.error,
        }
        for one in outbox.entries
    ]


def _shown(one: Silence) -> dict[str, Any]:
    return {
        "id": one.id,
        "match": dict(one.match),
        "since": iso(one.since),
        "until": iso(one.until),
        "by": one.by,
        "comment": one.comment,
    }


def _configured(window: Window, now: WallTime) -> dict[str, Any]:
    body = {key: value for key, value in plain(window).items() if value}
    for key in ("start", "end"):
        if key in body:
            body[key] = iso(WallTime(body[key]))
    return {**body, "match": dict(window.match), "active": window.active(now)}
