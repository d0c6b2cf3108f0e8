"""mcpwatch's own log: for a first look, and where there is no one else to tell."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field

from mcpwatch.alerts.book import AlertState, Notification, Severity
from mcpwatch.alerts.message import render
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.registry import Kind

logger = logging.getLogger("mcpwatch.alerts")


class LogSpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["log"] = "log"
    full: bool = Field(False, description="Log the whole message, not only its title.")


class Log(Plain):
    """The log."""

    def __init__(self, spec: LogSpec) -> None:
        self._full = spec.full

    async def notify(self, notification: Notification) -> None:
        """One record: an error for what is critical, else a warning; information for an end."""
        message = render(notification)
        critical = any(item.severity is Severity.CRITICAL for item in notification.items)
        level = logging.INFO if notification.state is AlertState.RESOLVED else logging.ERROR if critical else logging.WARNING
        logger.log(level, "%s", f"{message.title}\n{message.body}" if self._full else message.title)


LOG: Kind[Notifier] = Kind("log", LogSpec, Log, "mcpwatch's own log")
