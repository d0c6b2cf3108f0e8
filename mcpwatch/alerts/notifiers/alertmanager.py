"""Prometheus Alertmanager, API v2. It forgets what is not said again, so what fires is said again every `interval`.

Alertmanager groups and deduplicates by labels: those here never change during an incident; what changes is an annotation.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, SecretStr

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification
from mcpwatch.alerts.http import Poster
from mcpwatch.alerts.message import advice, one_line
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.model.time import WallTime, iso
from mcpwatch.registry import Kind
from mcpwatch.units import Span, Url

MISSED_MAX = 3
"""Times that saying it again may fail before Alertmanager takes an alert as ended."""


class AlertmanagerSpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["alertmanager"] = "alertmanager"
    url: Url = Field(description="Base URL, e.g. `http://alertmanager:9093`.")
    interval: Span = Field(60.0, description="How often what fires is said again.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels to add to every alert.")
    user: str = Field("", description="User for basic authentication.")
    password: SecretStr | None = Field(None, description="Its password.")
    token: SecretStr | None = Field(None, description="Bearer token.")
    insecure: bool = Field(False, description="Accept any TLS certificate.")


class Alertmanager(Plain):
    """One Alertmanager."""

    keeps_open = True

    def __init__(self, spec: AlertmanagerSpec) -> None:
        self._spec = spec
        self._poster = Poster(spec.timeout, insecure=spec.insecure)
        self.restate: float | None = spec.interval

    async def notify(self, notification: Notification) -> None:
        """Post the alerts of a notification; posting one twice is the same as once."""
        await self._post(notification.items, notification.at)

    async def state(self, items: Sequence[AlertSnapshot], now: WallTime) -> None:
        """Say again what fires."""
        if items:
            await self._post(items, now)

    async def close(self) -> None:
        """Close the connection."""
        await self._poster.close()

    async def _post(self, items: Sequence[AlertSnapshot], now: WallTime) -> None:
        alerts = [alert(item, now, self._spec.interval * MISSED_MAX, self._spec.labels) for item in items]
        headers = {"Content-Type": "application/json", **self._authorization()}
        await self._poster.post(self._spec.url.rstrip("/") + "/api/v2/alerts", json.dumps(alerts).encode(), headers)

    def _authorization(self) -> dict[str, str]:
        if self._spec.token is not None:
            return {"Authorization": f"Bearer {self._spec.token.get_secret_value()}"}
        if self._spec.user:
            password = self._spec.password.get_secret_value() if self._spec.password else ""
            return {"Authorization": "Basic " + base64.b64encode(f"{self._spec.user}:{password}".encode()).decode()}
        return {}


def alert(item: AlertSnapshot, now: WallTime, lasts: float, extra: dict[str, str]) -> dict[str, Any]:
    """One alert in the v2 form. `endsAt` of a firing one is when it ends unless it is said again. It starts when it fired, as
    Prometheus' own do: from an earlier start Alertmanager would take its group as having waited already, and an end before
    the start it refuses."""
    words = "".join(part.title() for part in item.alert.split("_"))
    labels = {
        "alertname": f"Mcpwatch{words}",
        "alert": item.alert,
        "severity": str(item.severity),
        "member": item.member,
        "route": item.route,
        "subject": item.subject,
        **extra,
    }
    notes = {
        "summary": one_line(item),
        "since": iso(item.since),
        "cause": item.cause_text or item.cause.replace("_", " "),
        "symptom": item.symptom,
        "evidence": "\n".join((*item.evidence, item.exit, *item.tail)).strip(),
        "tried": ", ".join(item.tried),
        "advice": advice(item),
    }
    start = item.fired_at or item.since
    end = max(item.resolved_at or now, start + 0.001) if item.state is AlertState.RESOLVED else now + lasts
    return {
        "labels": {key: value for key, value in labels.items() if value},
        "annotations": {key: value for key, value in notes.items() if value},
        "startsAt": iso(start),
        "endsAt": iso(WallTime(end)),
    }


ALERTMANAGER: Kind[Notifier] = Kind("alertmanager", AlertmanagerSpec, Alertmanager, "Prometheus Alertmanager, API v2")
