"""Everything that apprise can reach (some 170 services), by its URL. The one door to apprise.

apprise works in threads of its own and tells no status: whether trying again can help is read from what it logged.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from mcpwatch.alerts.book import AlertState, Notification, Severity
from mcpwatch.alerts.message import render
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.model.errors import NotifyFailed
from mcpwatch.registry import Kind

_STATUS = re.compile(r"error=(\d{3})\b")
AGAIN = frozenset({408, 409, 425, 429})


class AppriseSpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["apprise"] = "apprise"
    url: SecretStr = Field(description="An apprise URL, e.g. `ntfy://ntfy.sh/topic`, `tgram://…`, `mailto://…`.")

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        if "://" not in url.get_secret_value():
            raise ValueError("is not an apprise URL; write service://…, e.g. ntfy://ntfy.sh/my-topic")
        return url


class Apprise(Plain):
    """One apprise URL."""

    def __init__(self, spec: AppriseSpec) -> None:
        self._spec = spec
        self._sender: Any = None

    async def prepare(self) -> None:
        """Let apprise read all of its services, in a thread; that is not the receiver's time."""
        if self._sender is None:
            self._sender = await asyncio.to_thread(self._open)

    async def notify(self, notification: Notification) -> None:
        """Hand it to apprise and wait for its answer."""
        await self.prepare()
        message = render(notification)
        critical = any(item.severity is Severity.CRITICAL for item in notification.items)
        kind = "success" if notification.state is AlertState.RESOLVED else "failure" if critical else "warning"
        result = await self._sender.async_notify(
            title=message.title, body=message.body, notify_type=kind, timeout=self._spec.timeout, log_level=logging.WARNING
        )
        if not result:
            raise _failed(result, self._scheme())

    def _open(self) -> Any:
        """Make apprise's sender."""
        from apprise import Apprise as Sender
        from apprise import AppriseAsset

        for chatty in ("apprise", "urllib3"):  # below WARNING they log whole URLs
            logging.getLogger(chatty).setLevel(logging.WARNING)
        asset = AppriseAsset(app_id="mcpwatch", storage_mode="memory", service_timeout=self._spec.timeout)
        sender: Any = Sender(asset=asset)
        if not sender.add(self._spec.url.get_secret_value()):
            raise NotifyFailed(f"apprise does not understand this '{self._scheme()}' URL", retryable=False)
        return sender

    def _scheme(self) -> str:
        return self._spec.url.get_secret_value().partition("://")[0]


def _failed(result: Any, scheme: str) -> NotifyFailed:
    """What apprise's records say, in words that hold nothing of the URL."""
    lines = [str(entry.message) for one in result.results for attempt in one.attempts for entry in attempt.logs]
    found = _STATUS.search("\n".join(lines))
    if found is None:
        return NotifyFailed(f"{scheme}: apprise could not deliver it", retryable=True)
    status = int(found[1])
    return NotifyFailed(f"{scheme}: the service answered {status}", retryable=status >= 500 or status in AGAIN)


APPRISE: Kind[Notifier] = Kind("apprise", AppriseSpec, Apprise, "Any of apprise's services, by URL")
