"""The daemon's log, as the plan and the command line ask for it: plain lines on standard output, and every other target named."""

from __future__ import annotations

import logging
import sys
from typing import Literal

from mcpwatch.model.spec import Plan
from mcpwatch.telemetry.logs import LogFormat, Logging, configure
from mcpwatch.telemetry.spec import DaemonLogSpec, TelemetrySpec

Screen = Literal["lines", "picture"]
"""What standard output shows: the log, or a picture of the fleet that no line may disturb."""

_log = logging.getLogger("mcpwatch.log")


def set_up(plan: Plan, screen: Screen, format_: LogFormat | None) -> Logging:
    """Set the log up; close what it returns."""
    spec = _spec(plan)
    return configure(_format(spec, format_), spec.level, _targets(spec, screen), plan.secrets, stream=sys.stdout)


def retune(logs: Logging, plan: Plan, screen: Screen, format_: LogFormat | None) -> None:
    """Bring the log in line with a new plan: format, level, targets, and what is secret."""
    spec = _spec(plan)
    logs.secrets(plan.secrets)
    targets = _targets(spec, screen)
    if logs.retune(_format(spec, format_), spec.level, targets):
        _log.info("the log goes to %s from here on", ", ".join(targets) or "nowhere")


def _format(spec: DaemonLogSpec, asked: LogFormat | None) -> LogFormat:
    """What the command line says, else what the file says; `auto` on the command line is for people where the file is silent."""
    if asked == "auto":
        return "human" if spec.format == "auto" else spec.format
    return asked or spec.format


def _spec(plan: Plan) -> DaemonLogSpec:
    return TelemetrySpec.or_default(plan.section("telemetry")).logs


def _targets(spec: DaemonLogSpec, screen: Screen) -> tuple[str, ...]:
    return tuple(target for target in spec.targets if not (screen == "picture" and target == "stderr"))
