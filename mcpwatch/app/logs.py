"""The daemon's log, as the plan asks for it. What happened to the fleet is printed by `up` itself, so stderr does not repeat it."""

from __future__ import annotations

from mcpwatch.model.spec import Plan
from mcpwatch.telemetry.logs import FACT_LOGGER, Logging, configure
from mcpwatch.telemetry.spec import TelemetrySpec


def set_up(plan: Plan) -> Logging:
    """Set the log up; close what it returns."""
    section = plan.section("telemetry")
    spec = (section if isinstance(section, TelemetrySpec) else TelemetrySpec()).logs
    return configure(spec.format, spec.level, spec.targets, plan.secrets, untold=(FACT_LOGGER,))
