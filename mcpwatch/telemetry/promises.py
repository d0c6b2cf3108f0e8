"""From how the objectives stand to series. Pure; knows no library, clock or socket."""

from __future__ import annotations

from collections import defaultdict

from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.metrics_recorder import MetricsRecorder
from mcpwatch.telemetry.readings import PromisesNow

Rows = dict[tuple[str, ...], float]
GAUGES = (of.OBJECTIVE_TARGET, of.OBJECTIVE_MEASURED, of.OBJECTIVE_BUDGET, of.ROUTE_CLIENTS)


def show_promises(recorder: MetricsRecorder, now: PromisesNow) -> None:
    """Make the series of objectives those of `now`: what is unknown has none. Counters of a member that is gone went with it."""
    rows: dict[str, defaultdict[str, Rows]] = {family.name: defaultdict(Rows) for family in GAUGES}
    for one in now.objectives:
        key = (one.member, one.route, one.name)
        for family, value in (
            (of.OBJECTIVE_TARGET, one.target),
            (of.OBJECTIVE_MEASURED, one.measured),
            (of.OBJECTIVE_BUDGET, one.budget),
        ):
            if value is not None:
                rows[family.name][one.member][key] = value
    for calls in now.calls:
        rows[of.ROUTE_CLIENTS.name][calls.member][calls.member, calls.route] = calls.clients
        recorder.put_of(of.TOOL_CALLS, (calls.member, calls.route), calls.calls)
        recorder.put_of(of.TOOL_ERRORS, (calls.member, calls.route), calls.errors)
    for family in GAUGES:
        for member in recorder.members:
            recorder.replace(family, member, rows[family.name].get(member, {}))
