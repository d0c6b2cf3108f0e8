"""The room as the daemon runs it: from facts on the bus to a receiver, over restarts and reloads, and the paths it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from mcpwatch.alerts.service import Alerts
from mcpwatch.alerts.spec import AlertsSpec
from mcpwatch.bus import Bus
from mcpwatch.cli.alerts import told_words
from mcpwatch.clock import SystemClock
from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import AlertChanged, DaemonStopped, Fact, MemberChanged, MemberExited, NotificationFailed, NotificationSent
from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import FleetView, SelfView
from tests.alerts.receivers import SECRET, Receiver, receiving
from tests.alerts.stores import MemoryStore

pytestmark = pytest.mark.anyio
SOON = 30.0


@dataclass
class StillFleet:
    """`ports.SupervisedFleet` that shows nothing of its own: facts alone speak."""

    secrets: tuple[str, ...] = ()
    started_at: Any = 0.0

    def view(self) -> FleetView:
        return FleetView(SystemClock().wall(), SelfView(1, "0", self.started_at))

    def plan(self) -> Plan:
        return Plan(secrets=self.secrets)

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None: ...

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        return ()


@dataclass
class Room:
    """One running room with its bus, and what it said."""

    alerts: Alerts
    bus: Bus
    said: list[Fact] = field(default_factory=list[Fact])

    def member(self, name: str, verdict: str, what: Literal["want", "phase", "verdict"] = "verdict") -> None:
        at = SystemClock().wall()
        self.bus.publish(
            MemberChanged(
                at=at,
                text=name,
                member=name,
                generation=1,
                field=what,
                old="",
                new=verdict,
                reason="why",
            )
        )

    def up(self, name: str) -> None:
        self.member(name, "running", "phase")
        self.member(name, "healthy")

    async def call(self, method: str, path: str, **body: Any) -> Any:
        return await self.alerts.handlers[(method, path)](body)

    async def until(self, kind: type[Fact], count: int = 1) -> list[Fact]:
        async with asyncio.timeout(SOON), _listening(self.bus, kind) as facts:
            while sum(isinstance(fact, kind) for fact in self.said) < count:
                await anext(facts)
        return [fact for fact in self.said if isinstance(fact, kind)]


@asynccontextmanager
async def _listening(bus: Bus, kind: type[Fact]) -> AsyncGenerator[Any]:
    subscription = bus.subscribe(kind)
    try:
        yield aiter(subscription)
    finally:
        subscription.close()


def spec(receiver: Receiver, **more: Any) -> AlertsSpec:
    url = f"{receiver.url}/{SECRET}"
    route = {"receiver": "ops", "for": 0, "group_wait": 0, "group_interval": 0, "group_by": ["member"], **more.pop("route", {})}
    return AlertsSpec.model_validate({"receivers": {"ops": {"kind": "webhook", "url": url}}, "route": route, **more})


@asynccontextmanager
async def running(
    written: AlertsSpec | None, store: MemoryStore | None = None, secrets: tuple[str, ...] = ()
) -> AsyncGenerator[Room]:
    bus = Bus()
    made = Room(Alerts(StillFleet(secrets), store or MemoryStore(), bus, SystemClock(), written), bus)
    bus.hook(made.said.append)
    task = asyncio.create_task(made.alerts.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_fall_reaches_the_receiver_and_its_end_too():
    async with receiving() as receiver, running(spec(receiver)) as room:
        room.up("fetch")
        room.member("fetch", "unhealthy")
        (first,) = await receiver.received(1)
        assert first.json["title"] == "[down] fetch"
        room.member("fetch", "healthy")
        last = (await receiver.received(2))[1]
        assert last.json["state"] == "resolved"
        await room.until(NotificationSent, 2)
        changes = [(fact.alert, fact.new) for fact in await room.until(AlertChanged, 2) if isinstance(fact, AlertChanged)]
        assert changes == [("down", "firing"), ("down", "resolved")]


async def test_no_secret_of_the_plan_is_told_or_kept():
    store = MemoryStore()
    async with receiving() as receiver, running(spec(receiver), store, (SECRET,)) as room:
        at = SystemClock().wall()
        room.up("fetch")
        room.bus.publish(MemberExited(at=at, text="", member="fetch", generation=1, code=1, tail=(f"bad token {SECRET}",)))
        room.member("fetch", "backoff", "phase")
        (first,) = await receiver.received(1)
        assert "bad token [hidden]" in first.json["body"]
        assert SECRET.encode() not in first.body
        await room.until(NotificationSent)
        assert SECRET not in str(store.disk)


async def test_a_restart_while_it_fires_tells_nothing_twice_and_still_tells_the_end():
    store = MemoryStore()
    async with receiving() as receiver:
        async with running(spec(receiver), store) as room:
            room.up("fetch")
            room.member("fetch", "unhealthy")
            await room.until(NotificationSent)
        store.write()
        async with running(spec(receiver), MemoryStore(store.disk)) as room:
            assert [one["id"] for one in (await room.call("GET", "/alerts"))["alerts"]] == ["down:fetch"]
            room.member("fetch", "unhealthy")
            room.up("fetch")
            await room.until(NotificationSent)
        assert [request.json["state"] for request in receiver.requests] == ["firing", "resolved"]


async def test_what_the_watchdog_stops_has_not_failed_and_not_recovered():
    async with receiving() as receiver, running(spec(receiver)) as room:
        room.up("fetch")
        room.member("fetch", "unhealthy")
        await room.until(NotificationSent)
        room.bus.publish(DaemonStopped(at=SystemClock().wall(), text="the watchdog stops"))
        room.member("fetch", "down", "want")
        assert (await room.call("POST", "/alerts/test"))["results"][0]["ok"]
        assert [request.json["reason"] for request in receiver.requests] == ["first", "test"]
        assert room.alerts.ledger.book.alerts["down:fetch"].open


async def test_a_reload_keeps_alerts_silences_and_what_waits():
    async with receiving(status=500) as away, receiving() as receiver, running(spec(away)) as room:
        await room.call("POST", "/silences", targets=["time"], **{"for": "1h"})
        room.up("fetch")
        room.member("fetch", "unhealthy")
        await room.until(NotificationFailed)
        waiting = (await room.call("GET", "/alerts"))["outbox"]
        assert (waiting[0]["alerts"], waiting[0]["attempts"]) == (["down:fetch"], 1)
        room.alerts.reload(spec(receiver))
        (got,) = await receiver.received(1)
        assert got.json["reason"] == "first"
        assert len((await room.call("GET", "/silences"))["silences"]) == 1


@pytest.mark.sample(4)
@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 404, 410, 429, 500, 502, 503])
async def test_nobody_is_said_to_be_told_who_is_not(status: int):
    """Whether it has the message, may still get it, or never will: also after a restart, and on the command line."""
    store, took, kind = MemoryStore(), status < 300, NotificationSent if status < 300 else NotificationFailed
    async with receiving(status=status) as receiver:
        async with running(spec(receiver), store) as room:
            room.up("fetch")
            room.member("fetch", "unhealthy")
            await room.until(kind)
            told = (await room.call("GET", "/alerts"))["alerts"][0]
            lost = any(fact.permanent for fact in room.said if isinstance(fact, NotificationFailed))
            waits = bool(room.alerts.ledger.outbox.entries)
            assert [one["arrived"] for one in told["told"]] == [took]
            assert (took, lost, waits).count(True) == 1
            assert bool(told["told"][0]["failed"]) is lost
            words = told_words(told)
            assert words == "ops" if took else words.startswith("- (ops was not told: " if lost else "- (ops not yet"), words
        store.write()
        async with running(spec(receiver), MemoryStore(store.disk)) as room:
            again = (await room.call("GET", "/alerts"))["alerts"][0]
            assert again["told"] == told["told"]


async def test_what_waits_for_a_receiver_that_was_removed_is_told_as_failed():
    async with receiving(status=500) as away, running(spec(away)) as room:
        room.up("fetch")
        room.member("fetch", "unhealthy")
        await room.until(NotificationFailed)
        room.alerts.reload(None)
        facts = await room.until(NotificationFailed, 2)
        assert "no longer configured" in facts[-1].text
        assert room.alerts.ledger.outbox.entries == ()


async def test_one_receiver_that_hangs_delays_no_other():
    async with receiving(hang=True) as stuck, receiving() as well:
        written = AlertsSpec.model_validate(
            {
                "receivers": {
                    "a-stuck": {"kind": "webhook", "url": stuck.url, "timeout": "1s"},
                    "ops": {"kind": "webhook", "url": well.url},
                },
                "route": {"for": 0, "group_wait": 0},
            }
        )
        async with running(written) as room:
            room.up("fetch")
            room.member("fetch", "unhealthy")
            assert len(await well.received(1)) == 1
            assert len(await stuck.received(1)) == 1


async def test_without_receivers_alerts_are_kept_and_the_list_shows_them():
    async with running(None) as room:
        room.up("fetch")
        room.member("fetch", "backoff", "phase")
        room.member("fetch", "failed", "phase")
        room.alerts.rules = room.alerts.rules.__class__(room.alerts.rules.route.__class__("route", (), for_=0.0))
        await room.until(AlertChanged, 2)
        found = await room.call("GET", "/alerts")
        assert {one["id"]: one["state"] for one in found["alerts"]} == {"down:fetch": "firing", "gave_up:fetch": "firing"}
        assert room.alerts.summary()["firing"] == {"critical": 2}
        with pytest.raises(UsageError, match="no receivers are configured"):
            await room.call("POST", "/alerts/test")


async def test_silences_and_maintenance_by_command():
    async with receiving() as receiver, running(spec(receiver)) as room:
        added = await room.call(
            "POST", "/silences", targets=["fetch", "severity=critical"], comment="known", by="me", **{"for": "30m"}
        )
        assert (added["match"], added["by"], added["comment"]) == ({"name": "fetch", "severity": "critical"}, "me", "known")
        work = await room.call("POST", "/maintenance", **{"for": "2h"})
        assert work["match"] == {}
        room.up("fetch")
        room.member("fetch", "unhealthy")
        await room.until(AlertChanged)
        assert (await room.call("GET", "/alerts"))["alerts"][0]["muted"].startswith("silence ")
        assert (await room.call("GET", "/maintenance"))["maintenance"][0]["active"]
        assert (await room.call("POST", "/maintenance/stop"))["ended"] == [work["id"]]
        await room.call("POST", "/silences/expire", id=added["id"])
        (got,) = await receiver.received(1)
        assert got.json["reason"] == "unmuted"
        acked = await room.call("POST", "/alerts/ack", alert="fetch", by="me")
        assert acked["acknowledged"] == ("down:fetch",)
        assert (await room.call("GET", "/alerts"))["alerts"][0]["ack"]["by"] == "me"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/silences", {}, "say what to silence"),
        ("/silences", {"targets": ["x"], "for": "soon"}, "for: 'soon' is not a duration"),
        ("/silences", {"targets": ["colour=red"]}, "no label 'colour'"),
        ("/silences", {"targets": "fetch"}, "targets: a list"),
        ("/silences/expire", {}, "say which silence"),
        ("/silences/expire", {"id": "nope"}, "no silence has the id 'nope'"),
        ("/maintenance", {"for": "-5"}, "for: "),
        ("/alerts/ack", {"alert": "x"}, "no open alert is called 'x'"),
        ("/alerts/test", {"receiver": "op"}, "no receiver 'op'; did you mean 'ops'"),
    ],
)
async def test_a_wrong_command_is_one_line_and_changes_nothing(path: str, body: dict[str, Any], message: str):
    async with receiving() as receiver, running(spec(receiver)) as room:
        before = room.alerts.ledger.book
        with pytest.raises(UsageError, match=message):
            await room.alerts.handlers[("POST", path)](body)
        assert room.alerts.ledger.book.silences == before.silences


async def test_a_test_message_tells_what_each_receiver_said():
    async with receiving(status=403) as receiver, running(spec(receiver), secrets=(SECRET,)) as room:
        (result,) = (await room.call("POST", "/alerts/test", receiver="ops"))["results"]
        assert not result["ok"]
        assert "403" in result["error"]
        assert SECRET not in result["error"]
        assert receiver.requests[0].json["title"] == "[test] mcpwatch"
