"""What the API tells of files and of several rooms together: reasoning, logs, recorded facts, availability, objectives. Reads only.

Everything that reads a file does it in a thread; figures over days are kept for a while, because many pages ask for the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mcpwatch import journal
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.reasoning import FACTS, explain, gathered
from mcpwatch.clock import Clock
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.json import status_json
from mcpwatch.model.time import WallTime, iso
from mcpwatch.model.view import FleetView
from mcpwatch.ports import Store, SupervisedFleet
from mcpwatch.store.history import read_history
from mcpwatch.store.measured import each_measured, read_latest, read_measured, read_page, read_seconds, read_sums
from mcpwatch.web.api.catalog import Handler
from mcpwatch.web.api.logs import LogStreams
from mcpwatch.web.objectives.hour import HOUR, OUTAGES, Hour, Outage, Seconds, add, from_json, last_outage, percentile
from mcpwatch.web.objectives.meter import ObjectiveMeter
from mcpwatch.web.objectives.report import SLOTS, Report, Total, bar, report_of, to_json
from mcpwatch.web.spec import ObjectivesSpec

DAY = 86_400.0
PAGE = 1000
"""Facts in one page at most."""
SUMS_FOR = 300.0
"""Seconds for which sums over days, and finished hours, are not read again."""
REPORT_FOR = 60.0
"""Seconds for which a report is not made again."""

Body = dict[str, Any]
Sums = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Past:
    """What was measured before the present hours: good and bad seconds over three windows, 90 hours by route, the last outages."""

    sums: tuple[Sums, ...]
    hours: dict[str, dict[int, Seconds]]
    outages: dict[str, Outage]


class Answers:
    """Answers for one daemon."""

    def __init__(
        self, fleet: SupervisedFleet, store: Store, clock: Clock, paths: StatePaths, meter: ObjectiveMeter, logs: LogStreams
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._paths = paths
        self._meter = meter
        self._logs = logs
        self._days: tuple[float, Past] | None = None
        self._reports: dict[float, tuple[float, Report]] = {}
        self._reading = asyncio.Lock()

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Method and path to handler."""
        return {
            ("GET", "/why/{name}"): self.why,
            ("GET", "/logs/{name}"): self.logs,
            ("GET", "/events"): self.events,
            ("GET", "/history"): self.history,
            ("GET", "/availability"): self.availability,
            ("GET", "/availability/{name}"): self.hours,
            ("GET", "/objectives"): self.objectives,
        }

    async def why(self, body: Body) -> Body:
        """What `mcpwatch why` says, as data and as lines."""
        name = str(body["name"])
        status = status_json(_about(name, self._fleet.view()))
        facts = await self._store.facts(since=WallTime(self._clock.wall() - DAY), limit=FACTS)
        return {**gathered(name, status, facts), "lines": explain(name, status, facts)}

    async def logs(self, body: Body) -> Body:
        """The latest lines of a member."""
        name, stream = str(body["name"]), body.get("stream")
        known = await asyncio.to_thread(journal.members, self._paths.root)
        if name not in known:
            raise UsageError(f"no logs of '{name}'{suggest(name, known)}")
        streams = journal.STREAMS if stream is None else (str(stream),)
        found, id_ = await asyncio.to_thread(self._logs.latest, name, streams, int(body.get("lines", 100)), body.get("since"))
        return {"lines": found, "id": id_}

    async def events(self, body: Body) -> Body:
        """A page of recorded facts, newest first."""
        await self._store.flush()
        limit = min(PAGE, int(body.get("limit", 100)))
        found = await asyncio.to_thread(
            read_page,
            self._paths.store,
            before=body.get("cursor"),
            since=float(body.get("since") or 0.0),
            member=body.get("member"),
            name=body.get("name"),
            limit=limit,
        )
        more = limit > 0 and len(found) == limit
        return {"events": [json.loads(text) for _, text in found], "next": found[-1][0] if more else None}

    async def history(self, body: Body) -> list[Body]:
        """How each check did."""
        await self._store.flush()
        since = float(body.get("since") or self._clock.wall() - DAY)
        found = await asyncio.to_thread(read_history, self._paths.store, since=since, subject=body.get("name"))
        return [{**dataclasses.asdict(one), "worst_hour": iso(one.worst_hour) if one.worst_hour else None} for one in found]

    async def availability(self, body: Body) -> Body:
        """Every route, or those in `names`: percent of good time in three windows, an hour a slot, latency now."""
        now, plan = self._clock.wall(), self._fleet.plan()
        names: list[str] | None = body.get("names")
        if names is None:
            names = [route.name for route in plan.routes] or [member.name for member in plan.members]
        live = self._meter.live(names)
        past = await self._past(now)
        return {
            "slot_seconds": HOUR,
            "routes": {name: self._one(name, past, live.get(name, {}), now) for name in names},
        }

    def _one(self, name: str, past: Past, live: Mapping[int, Hour], now: float) -> Body:
        latency, outage = self._meter.latency(name), self._meter.outage(name)
        windows = [_percent(one.get(name, (0.0, 0.0)), live, now) for one in past.sums]
        ended = [one for hour in live.values() if (one := last_outage(hour))]
        hours = past.hours.get(name, {}) | {number: hour.seconds for number, hour in live.items()}
        last = max(ended, key=lambda one: one.end, default=past.outages.get(name))
        return {
            "24h": windows[0],
            "7d": windows[1],
            "30d": windows[2],
            "bar": [[None if share is None else round(share, 4), round(announced)] for _, share, announced in bar(hours, now)],
            "p50": latency[0] if latency else None,
            "p95": latency[1] if latency else None,
            "down_since": outage.begin if outage else None,
            "last": None if last is None else dataclasses.asdict(last),
        }

    async def _past(self, now: float) -> Past:
        """What was measured in hours that are over (the present one and the one before are the meter's)."""
        async with self._reading:
            if self._days is None or not 0 <= now - self._days[0] < SUMS_FOR:
                self._days = (now, await asyncio.to_thread(self._read_past, now))
        return self._days[1]

    def _read_past(self, now: float) -> Past:
        store, present = self._paths.store, int(now // HOUR)
        own = {"first": present - 1, "before": present + 1}
        still: Sums = {}
        for name, _, good, bad, _ in read_seconds(store, **own):
            before = still.get(name, (0.0, 0.0))
            still[name] = (before[0] + good, before[1] + bad)
        sums = tuple(_without(read_sums(store, hour=int((now - days * DAY) // HOUR)), still) for days in (1, 7, 30))
        hours: dict[str, dict[int, Seconds]] = {}
        for name, number, good, bad, announced in read_seconds(store, first=present - SLOTS, before=present - 1):
            hours.setdefault(name, {})[number] = (good, bad, announced)
        latest = read_latest(store, hour=int((now - 30 * DAY) // HOUR), holding=OUTAGES)
        found = {name: last_outage(from_json(text)) for name, text in latest.items()}
        return Past(sums, hours, {name: one for name, one in found.items() if one is not None})

    async def hours(self, body: Body) -> Body:
        """One route hour by hour: share of good time, 95th percentile of connecting."""
        name, now = str(body["name"]), self._clock.wall()
        stored = await asyncio.to_thread(read_measured, self._paths.store, hour=int(now // HOUR) - SLOTS, subject=name)
        found = {number: from_json(text) for _, number, text in stored} | self._meter.live([name]).get(name, {})
        return {"hours": [_hour(number, found[number]) for number in sorted(found)]}

    async def objectives(self, body: Body) -> Body:
        """The report, by default over 7 days."""
        since = float(body.get("since") or self._clock.wall() - 7 * DAY)
        found = to_json(await self.report(since))
        name = body.get("name")
        return found if name is None else {**found, "routes": [one for one in found["routes"] if one["route"] == name]}

    async def report(self, since: float) -> Report:
        """What was promised held against what was measured."""
        now, first = self._clock.wall(), float(int(since // HOUR))
        async with self._reading:
            kept = self._reports.get(first)
            if kept is None or not 0 <= now - kept[0] < REPORT_FOR:
                await self._meter.read()
                await self._meter.keep()
                await self._store.flush()
                going = {route.name: one for route in self._fleet.plan().routes if (one := self._meter.outage(route.name))}
                spec = ObjectivesSpec.or_default(self._fleet.plan().section("objectives"))
                found = await asyncio.to_thread(reported, self._paths, spec, since=since, now=now, going=going)
                kept = (now, found)
                self._reports = {**dict(list(self._reports.items())[-3:]), first: kept}
        return kept[1]


def reported(
    paths: StatePaths, spec: ObjectivesSpec, *, since: float, now: float, going: Mapping[str, Outage] | None = None
) -> Report:
    """The report, read from the store. `going`: outages that have not ended. Raises `StoreError`."""
    totals: dict[str, Total] = {}
    for name, number, text in each_measured(paths.store, hour=int(since // HOUR)):
        if (total := totals.get(name)) is None:
            total = totals[name] = Total(number, Hour())
        total.first = min(total.first, number)
        add(total.hours, from_json(text))
    return report_of(spec, totals, since=since, now=now, going=going)


def _about(name: str, view: FleetView) -> FleetView:
    """The view without the members and routes that have nothing to do with `name`. Raises `UsageError` for an unknown name."""
    routes = tuple(route for route in view.routes if name in (route.name, route.member))
    wanted = {name, *(route.member for route in routes)}
    members = tuple(member for member in view.members if member.name in wanted)
    if not routes and not members:
        known = {one.name for one in (*view.members, *view.routes)}
        raise UsageError(f"no member or route '{name}'{suggest(name, known)}")
    return replace(view, members=members, routes=routes)


def _hour(number: int, hour: Hour) -> Body:
    known, p95 = hour.good + hour.bad, percentile(hour.connects, 0.95)
    return {
        "at": number * HOUR,
        "words": iso(WallTime(number * HOUR))[:16].replace("T", " "),
        "good": round(100 * hour.good / known, 3) if known > 0 else "unknown",
        "p95": round(p95 * 1000, 1) if p95 is not None else "unknown",
    }


def _without(sums: Sums, still: Sums) -> Sums:
    return {name: (good - still.get(name, (0, 0))[0], bad - still.get(name, (0, 0))[1]) for name, (good, bad) in sums.items()}


def _percent(past: tuple[float, float], hours: Mapping[int, Hour], now: float) -> float | None:
    """Percent of good time: the sum of the past, and the hours that the meter still counts."""
    present = int(now // HOUR)
    live = [hour for number, hour in hours.items() if number >= present - 1]
    good, bad = past[0] + sum(hour.good for hour in live), past[1] + sum(hour.bad for hour in live)
    return round(100 * good / (good + bad), 4) if good + bad > 0 else None
