"""The daemon's log, as the plan and the command line ask for it: plain lines on standard output, and every other target named."""

from __future__ import annotations

import sys
from typing import Literal

from mcpwatch.model.spec import Plan
from mcpwatch.telemetry.logs import LogFormat, Logging, configure
from mcpwatch.telemetry.spec import TelemetrySpec

Screen = Literal["lines", "picture"]
"""What standard output shows: the log, or a picture of the fleet that no line may disturb."""


def set_up(plan: Plan, screen: Screen, format_: LogFormat | None) -> Logging:
    """Set the log up; close what it returns. `format_` wins over the configuration."""
    section = plan.section("telemetry")
    spec = (section if isinstance(section, TelemetrySpec) else TelemetrySpec()).logs
    targets = tuple(target for target in spec.targets if not (screen == "picture" and target == "stderr"))
    return configure(format_ or spec.format, spec.level, targets, plan.secrets, stream=sys.stdout)
