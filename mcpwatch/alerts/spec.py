"""What a user writes under `alerts:`, and the frozen rules made of it. Every default stands beside its field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Union, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from mcpwatch.alerts.book import Severity
from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.alerts.receiver import ReceiverSpec
from mcpwatch.alerts.routing import AlertPolicy, EscalationStep, Flapping, RoutingNode
from mcpwatch.alerts.silence import LABELS, Window
from mcpwatch.model import cron
from mcpwatch.model.errors import suggest
from mcpwatch.model.time import WallTime
from mcpwatch.registry import KindSpec, find
from mcpwatch.units import Duration, Span

FOREVER = WallTime(253_402_300_799.0)
WINDOW_MAX = 7 * 86400.0
"""Longest maintenance window by cron, in seconds."""
DEPTH_MAX = 8


def _known_kind(value: Any) -> Any:
    if isinstance(value, dict):
        kind = cast("dict[str, Any]", value).get("kind")
        names = [one.name for one in NOTIFIERS]
        if kind is None:
            raise ValueError(f"needs a kind; kinds: {', '.join(names)}")
        if find(NOTIFIERS, str(kind)) is None:
            raise ValueError(f"no receiver kind '{kind}'{suggest(str(kind), names)}")
    return cast("Any", value)


def _known_labels(match: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
    for label in match:
        if label not in LABELS:
            raise ValueError(f"no label '{label}'{suggest(label, LABELS)}")
    return match


def _known_groups(labels: list[str]) -> list[str]:
    _known_labels(dict.fromkeys(labels, ""))
    return labels


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"no time zone '{name}'; write e.g. Europe/Berlin") from error
    return name


if TYPE_CHECKING:
    Receiver = ReceiverSpec
else:
    Receiver = Annotated[
        Union[tuple(kind.spec for kind in NOTIFIERS)],  # noqa: UP007
        Field(discriminator="kind"),
        BeforeValidator(_known_kind),
    ]
Match = Annotated[dict[str, str | list[str]], AfterValidator(_known_labels)]
Cron = Annotated[str, AfterValidator(cron.checked)]
Zone = Annotated[str, AfterValidator(_zone)]
Groups = Annotated[list[str], AfterValidator(_known_groups)]


class EscalateSpec(KindSpec):
    """A further receiver, notified when an alert is not acknowledged in time."""

    after: Span = Field(description="Time of firing without an acknowledgement.")
    receiver: str = Field(description="Name of a receiver.")


class AlertRouteSpec(KindSpec):
    """Who hears of which alerts. What is left out is inherited from the parent."""

    receiver: str | list[str] | None = Field(None, description="Name of a receiver, or several. Default at the root: all of them.")
    match: Match = Field(default_factory=dict, description="Labels and patterns (`*`, `?`); a list holds alternatives.")
    for_: Duration | None = Field(None, alias="for", description="How long a condition must last before anybody hears. Default 1m.")
    repeat: Duration | None = Field(None, description="Say again what still fires after this long; 0: never. Default 4h.")
    group_by: Groups | None = Field(None, description="Alerts alike in these labels come in one message. Default `[cause]`.")
    group_wait: Duration | None = Field(None, description="Wait for others before the first message of a group. Default 15s.")
    group_interval: Duration | None = Field(None, description="Least time between messages of a group. Default 1m.")
    severity: Severity | None = Field(None, description="Least severity that is told. Default `warning`.")
    escalate: list[EscalateSpec] | None = Field(None, description="Further receivers, for alerts not acknowledged in time.")
    carry_on: bool = Field(False, description="Later siblings may take the alert too.")
    routes: list[AlertRouteSpec] = Field(
        default_factory=list["AlertRouteSpec"], description="Children; the first that matches takes it."
    )


class SilenceSpec(KindSpec):
    """Mute by configuration."""

    match: Match = Field(description="What to mute.")
    until: AwareDatetime | None = Field(None, description="When it ends, with time zone. Default: never.")
    comment: str = Field("", description="Why.")


class MaintenanceSpec(KindSpec):
    """A maintenance window, one-off (`start`, `end`) or by `cron` and `duration`."""

    name: str = Field(description="What it is called in messages.")
    match: Match = Field(default_factory=dict, description="What it covers. Default: everything.")
    start: AwareDatetime | None = Field(None, description="Begin of a one-off window, with time zone.")
    end: AwareDatetime | None = Field(None, description="Its end.")
    cron: Cron | None = Field(None, description="Five fields or a name such as @weekly: when a recurring window begins.")
    duration: Annotated[Span, Field(le=WINDOW_MAX)] | None = Field(None, description="How long a recurring window lasts.")
    timezone: Zone = Field("UTC", description="Time zone of `cron`.")

    @model_validator(mode="after")
    def _one_way(self) -> MaintenanceSpec:
        if (self.cron is None) != (self.duration is None):
            raise ValueError("cron and duration belong together; write both")
        if (self.cron is None) == (self.start is None and self.end is None):
            raise ValueError("write either start and end, or cron and duration")
        if self.start and self.end and self.end <= self.start:
            raise ValueError("end is not after start")
        return self


class FlappingSpec(KindSpec):
    """When a condition that comes and goes is one incident."""

    changes: int = Field(4, ge=2, description="More changes than this within `period` are flapping.")
    period: Span = Field(600.0, description="The time in which changes are counted.")
    quiet: Span = Field(300.0, description="Time without a change after which it has settled.")


class AlertsSpec(KindSpec):
    """Who is told of what is wrong, and how patiently."""

    receivers: dict[str, Receiver] = Field(default_factory=dict[str, ReceiverSpec], description="Where notifications go, by name.")
    route: AlertRouteSpec = Field(default_factory=AlertRouteSpec.unwritten, description="Who hears of what.")
    silences: list[SilenceSpec] = Field(default_factory=list[SilenceSpec], description="Mute by configuration.")
    maintenance: list[MaintenanceSpec] = Field(default_factory=list[MaintenanceSpec], description="Maintenance windows.")
    escalate: list[EscalateSpec] = Field(default_factory=list[EscalateSpec], description="As `route.escalate`, for all routes.")
    flapping: FlappingSpec = Field(
        default_factory=FlappingSpec.unwritten, description="When a condition that comes and goes is one incident."
    )

    @model_validator(mode="after")
    def _receivers_exist(self) -> AlertsSpec:
        named = [("escalate", step.receiver) for step in self.escalate]
        named += _named(self.route, "route")
        for path, name in named:
            if name not in self.receivers:
                raise ValueError(f"{path}: no receiver '{name}'{suggest(name, self.receivers)}")
        return self


SECTION: tuple[str, type[KindSpec]] = ("alerts", AlertsSpec)


def _named(route: AlertRouteSpec, path: str, depth: int = 0) -> list[tuple[str, str]]:
    if depth > DEPTH_MAX:
        raise ValueError(f"{path}: routes nested more than {DEPTH_MAX} deep")
    found = [(f"{path}.receiver", name) for name in _names(route.receiver) or ()]
    found += [(f"{path}.escalate", step.receiver) for step in route.escalate or ()]
    for number, child in enumerate(route.routes):
        found += _named(child, f"{path}.routes[{number}]", depth + 1)
    return found


def rules(spec: AlertsSpec) -> AlertPolicy:
    """The rules of the policy: everything inherited, times in seconds."""
    root = RoutingNode(
        id="route",
        receivers=tuple(spec.receivers),
        escalate=tuple(EscalationStep(step.after, step.receiver) for step in spec.escalate),
    )
    windows = (*_silenced(spec), *(_window(one) for one in spec.maintenance))
    flapping = Flapping(spec.flapping.changes, spec.flapping.period, spec.flapping.quiet)
    return AlertPolicy(_route(spec.route, root, "route"), windows, flapping)


def patterns(match: dict[str, str | list[str]]) -> tuple[tuple[str, str], ...]:
    """Patterns as the policy wants them: alternatives joined by `|`."""
    return tuple((label, "|".join(one) if isinstance(one, list) else one) for label, one in match.items())


def _route(spec: AlertRouteSpec, parent: RoutingNode, path: str) -> RoutingNode:
    def own(name: str, inherited: Any) -> Any:
        written = getattr(spec, name)
        return inherited if written is None else written

    repeat = parent.repeat if spec.repeat is None else spec.repeat or None
    made = RoutingNode(
        id=path,
        receivers=_names(spec.receiver) or parent.receivers,
        match=patterns(spec.match),
        for_=own("for_", parent.for_),
        repeat=repeat,
        group_by=tuple(own("group_by", parent.group_by)),
        group_wait=own("group_wait", parent.group_wait),
        group_interval=own("group_interval", parent.group_interval),
        severity=own("severity", parent.severity),
        escalate=parent.escalate
        if spec.escalate is None
        else tuple(EscalationStep(one.after, one.receiver) for one in spec.escalate),
        carry_on=spec.carry_on,
    )
    children = tuple(_route(child, made, f"{path}.{number}") for number, child in enumerate(spec.routes))
    return RoutingNode(**{name: getattr(made, name) for name in RoutingNode.__slots__ if name != "routes"}, routes=children)


def _names(receiver: str | list[str] | None) -> tuple[str, ...]:
    if receiver is None:
        return ()
    return (receiver,) if isinstance(receiver, str) else tuple(receiver)


def _silenced(spec: AlertsSpec) -> Iterator[Window]:
    for number, one in enumerate(spec.silences):
        yield Window(f"silences[{number}]", patterns(one.match), end=_wall(one.until) or FOREVER)


def _window(spec: MaintenanceSpec) -> Window:
    return Window(
        spec.name,
        patterns(spec.match),
        start=_wall(spec.start),
        end=_wall(spec.end),
        cron=spec.cron or "",
        duration=spec.duration or 0.0,
        timezone=spec.timezone,
    )


def _wall(at: datetime | None) -> WallTime | None:
    return WallTime(at.timestamp()) if at else None
