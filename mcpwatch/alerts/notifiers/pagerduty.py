"""PagerDuty, Events API v2: one incident per alert, opened and resolved under the same deduplication key."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, SecretStr

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification
from mcpwatch.alerts.http import Poster
from mcpwatch.alerts.message import advice, one_line
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.model.json import plain
from mcpwatch.model.time import iso
from mcpwatch.registry import Kind
from mcpwatch.units import Url

SUMMARY_MAX = 1024
"""Characters that PagerDuty takes."""


class PagerDutySpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["pagerduty"] = "pagerduty"
    routing_key: SecretStr = Field(description="Integration key of the service (Events API v2).")
    url: Url = Field("https://events.pagerduty.com/v2/enqueue", description="Where events are posted; EU accounts have their own.")
    source: str = Field("mcpwatch", description="What PagerDuty shows as the source, and the beginning of its keys.")


class PagerDuty(Plain):
    """One PagerDuty service."""

    keeps_open = True

    def __init__(self, spec: PagerDutySpec) -> None:
        self._spec = spec
        self._poster = Poster(spec.timeout)

    async def notify(self, notification: Notification) -> None:
        """One event per alert; a second time is the same incident, so a half-delivered notification is simply sent again."""
        for item in notification.items:
            content = json.dumps(event(item, self._spec)).encode()
            await self._poster.post(self._spec.url, content, {"Content-Type": "application/json"})

    async def close(self) -> None:
        """Close the connection."""
        await self._poster.close()


def event(item: AlertSnapshot, spec: PagerDutySpec) -> dict[str, Any]:
    """One event. The key names the alert and its incident, so that an old resolution never ends a new incident."""
    resolved = item.state is AlertState.RESOLVED
    found: dict[str, Any] = {
        "routing_key": spec.routing_key.get_secret_value(),
        "event_action": "resolve" if resolved else "trigger",
        "dedup_key": f"{spec.source}/{item.id}/{int(item.since)}",
    }
    if not resolved:
        details = {key: value for key, value in plain(item).items() if value}
        found["payload"] = {
            "summary": one_line(item)[:SUMMARY_MAX],
            "source": spec.source,
            "severity": str(item.severity),
            "timestamp": iso(item.since),
            "component": item.member or item.subject,
            "group": item.cause or item.alert,
            "class": item.symptom or item.alert,
            "custom_details": {**details, "advice": advice(item)},
        }
    return found


PAGERDUTY: Kind[Notifier] = Kind("pagerduty", PagerDutySpec, PagerDuty, "PagerDuty, one incident per alert")
