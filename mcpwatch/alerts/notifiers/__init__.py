"""Receivers: one file each. To add one: write the file, its test, and its line in `NOTIFIERS`."""

from __future__ import annotations

from mcpwatch.alerts.notifiers.alertmanager import ALERTMANAGER
from mcpwatch.alerts.notifiers.apprise import APPRISE
from mcpwatch.alerts.notifiers.exec import EXEC
from mcpwatch.alerts.notifiers.log import LOG
from mcpwatch.alerts.notifiers.pagerduty import PAGERDUTY
from mcpwatch.alerts.notifiers.webhook import WEBHOOK
from mcpwatch.alerts.receiver import Notifier
from mcpwatch.registry import Kind

NOTIFIERS: tuple[Kind[Notifier], ...] = (APPRISE, ALERTMANAGER, WEBHOOK, PAGERDUTY, EXEC, LOG)
