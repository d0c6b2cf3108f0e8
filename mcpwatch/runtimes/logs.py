"""What a user may write under `logs:`: when members' log files are rotated, and how much of them is kept."""

from __future__ import annotations

from pydantic import Field

from mcpwatch.model.spec import Plan
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.log_stamper import RotationLimits
from mcpwatch.units import Size, Span

_DEFAULT = RotationLimits()


class MemberLogsSpec(KindSpec):
    """Rotation of the members' logs, for each member and stream."""

    max_size: Size = Field(_DEFAULT.max_bytes, description="A log file that reaches this size is closed and another begun.")
    max_age: Span = Field(_DEFAULT.max_age, description="A log file whose first line is this old is closed and another begun.")
    keep: int = Field(_DEFAULT.keep, ge=0, le=100_000, description="Closed files that are kept of each stream.")
    keep_age: Span = Field(_DEFAULT.keep_age, description="Closed files older than this are deleted.")


SECTION = ("logs", MemberLogsSpec)


def limits_of(plan: Plan) -> RotationLimits:
    """The limits that a plan asks for, or the defaults."""
    spec = plan.section("logs")
    return RotationLimits(spec.max_size, spec.max_age, spec.keep, spec.keep_age) if isinstance(spec, MemberLogsSpec) else _DEFAULT
