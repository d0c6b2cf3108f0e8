"""What was promised held against what was measured: pure, from hours to the table of `mcpwatch report`. Unknown stays unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcpwatch.model.json import plain
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage, Seconds, percentile, summed
from mcpwatch.web.spec import ObjectivesSpec

Met = Literal["met", "missed", "unknown"]
Hours = Mapping[str, Mapping[int, Hour]]
"""Route to hour to what was measured in it."""
SLOTS = 90
"""Hours in a history bar."""


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """One promise: `target`, `measured` in `unit` (`None`: not known), `samples` behind it in words, `budget` left in percent."""

    name: str
    target: float
    unit: str
    measured: float | None
    met: Met
    samples: str
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class RouteReport:
    """One route in a window. Times in seconds; `down` was not announced, `announced` was, of `unknown` nothing is known."""

    route: str
    objectives: tuple[ObjectiveResult, ...]
    watched: float
    down: float
    announced: float
    unknown: float
    outages: int
    worst: Outage | None
    detect_median: float | None
    detect_p95: float | None
    repair_median: float | None
    repair_p95: float | None


@dataclass(slots=True)
class Total:
    """What was measured of one route in a window, as a sum; `first`: its first hour."""

    first: int
    hours: Hour


@dataclass(frozen=True, slots=True)
class Report:
    """The whole table. `since` is the beginning of the first whole hour."""

    since: float
    until: float
    routes: tuple[RouteReport, ...]
    promised: Mapping[str, float]
    """What the fleet promises, by objective; a route may promise something else."""

    @property
    def met(self) -> bool:
        """Whether no objective is missed."""
        return all(one.met != "missed" for route in self.routes for one in route.objectives)


def report(spec: ObjectivesSpec, hours: Hours, *, since: float, now: float, going: Mapping[str, Outage] | None = None) -> Report:
    """The report on every route with an hour in the window. `going`: outages that have not ended, by route."""
    first = int(since // HOUR)
    totals = {
        route: Total(min(found, default=first), summed(hour for number, hour in found.items() if number >= first))
        for route, found in hours.items()
    }
    return report_of(spec, totals, since=since, now=now, going=going)


def report_of(
    spec: ObjectivesSpec, totals: Mapping[str, Total], *, since: float, now: float, going: Mapping[str, Outage] | None = None
) -> Report:
    """The report from sums that were made already."""
    first, open_ = int(since // HOUR), going or {}
    rows = [_route(route, spec.of(route), total, first, now, open_.get(route)) for route, total in sorted(totals.items())]
    promised = {"availability": spec.availability, "connect_p95": spec.connect_p95,
                "tool_error_rate": spec.tool_error_rate, "clients": float(spec.clients)}  # fmt: skip
    return Report(first * HOUR, now, tuple(rows), promised)


def _route(route: str, spec: ObjectivesSpec, found: Total, first: int, now: float, going: Outage | None) -> RouteReport:
    total, begin = found.hours, max(first, found.first) * HOUR
    # An outage of announced maintenance is told apart, like its seconds.
    outages = [one for one in total.outages if not one.announced]
    ended = [one.seconds for one in outages]
    if going is not None and going.detected is not None and not going.announced:
        outages = [*outages, replace(going, end=max(now, going.begin))]
    detect = [max(0.0, one.detected - one.begin) for one in outages if one.detected is not None]
    objectives = (_availability(spec, total), _connect(spec, total), _errors(spec, total), _clients(spec, total))
    return RouteReport(
        route,
        objectives,
        watched=total.watched,
        down=total.bad,
        announced=total.announced,
        unknown=max(0.0, now - begin - total.watched),
        outages=len(outages),
        worst=max(outages, key=lambda one: one.seconds, default=None),
        detect_median=quantile(detect, 0.5),
        detect_p95=quantile(detect, 0.95),
        repair_median=quantile(ended, 0.5),
        repair_p95=quantile(ended, 0.95),
    )


def _availability(spec: ObjectivesSpec, total: Hour) -> ObjectiveResult:
    """Good time in good and bad time: announced and unknown time counts on neither side."""
    known = total.good + total.bad
    if known <= 0:
        return ObjectiveResult("availability", spec.availability, "%", None, "unknown", "never watched")
    measured = 100 * total.good / known
    allowed = known * (1 - spec.availability / 100)
    budget = 100 * (allowed - total.bad) / allowed if allowed > 0 else (100.0 if total.bad == 0 else -100.0)
    met: Met = "met" if measured >= spec.availability else "missed"
    return ObjectiveResult("availability", spec.availability, "%", measured, met, f"{span(known)} watched", budget)


def _connect(spec: ObjectivesSpec, total: Hour) -> ObjectiveResult:
    measured, count = percentile(total.connects, 0.95), sum(total.connects.values())
    met: Met = "unknown" if measured is None else "met" if measured <= spec.connect_p95 else "missed"
    return ObjectiveResult("connect_p95", spec.connect_p95, "s", measured, met, f"{count} connections")


def _errors(spec: ObjectivesSpec, total: Hour) -> ObjectiveResult:
    if not total.counted:
        return ObjectiveResult("tool_error_rate", spec.tool_error_rate, "%", None, "unknown", "the proxy does not count calls")
    if not total.calls:
        return ObjectiveResult("tool_error_rate", spec.tool_error_rate, "%", None, "unknown", "no calls")
    measured = 100 * total.errors / total.calls
    met: Met = "met" if measured <= spec.tool_error_rate else "missed"
    allowed = total.calls * spec.tool_error_rate / 100
    budget = 100 * (allowed - total.errors) / allowed if allowed > 0 else None
    words = f"{total.errors} of {total.calls} calls failed"
    return ObjectiveResult("tool_error_rate", spec.tool_error_rate, "%", measured, met, words, budget)


def _clients(spec: ObjectivesSpec, total: Hour) -> ObjectiveResult:
    """Proved only by so many clients having been there at once: fewer prove nothing."""
    most = total.clients
    met: Met = "met" if most >= spec.clients else "unknown"
    words = f"at most {most} at once" if most else "none counted"
    return ObjectiveResult("clients", spec.clients, "clients", float(most) if most else None, met, words)


def quantile(values: list[float], share: float) -> float | None:
    """The smallest value that `share` of them do not exceed; `None` without any."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * share - 1e-9) - 1)]


def bar(found: Mapping[int, Seconds], now: float) -> tuple[tuple[int, float | None, float], ...]:
    """The last `SLOTS` hours: hour, share of good time (`None`: unknown), seconds announced."""
    last = int(now // HOUR)
    slots: list[tuple[int, float | None, float]] = []
    for number in range(last - SLOTS + 1, last + 1):
        good, bad, announced = found.get(number, (0.0, 0.0, 0.0))
        known = good + bad
        slots.append((number, good / known if known > 0 else None, announced))
    return tuple(slots)


def availability(found: Mapping[int, Hour], since: float) -> float | None:
    """Percent of good time since then, by whole hours; `None` when unknown."""
    first = int(since // HOUR)
    good = sum(hour.good for number, hour in found.items() if number >= first)
    bad = sum(hour.bad for number, hour in found.items() if number >= first)
    return 100 * good / (good + bad) if good + bad > 0 else None


def percent(value: float | None) -> str:
    """For people; never 100 % where something failed."""
    if value is None:
        return "unknown"
    return "100 %" if value >= 100 else "0 %" if value <= 0 else f"{min(value, 99.99):.2f} %"


def span(seconds: float | None) -> str:
    """A span for people: `42s`, `3m05s`, `2h10m`, `4d03h`; `-` for none."""
    if seconds is None:
        return "-"
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m" if whole < 86_400 else f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def to_json(found: Report) -> dict[str, Any]:
    """As the API gives it."""
    return {"version": 1, "met": found.met, **plain(found)}
