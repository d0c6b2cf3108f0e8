"""All kinds of all rooms, gathered for the configuration. The only list of rooms; a new room is a line here."""

from __future__ import annotations

from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.alerts.spec import SECTION as ALERTS
from mcpwatch.app.backup.schedule import SECTION as BACKUP
from mcpwatch.checks import CHECKS
from mcpwatch.clients.catalog import CLIENTS, ClientsSection
from mcpwatch.proxies import PROXIES
from mcpwatch.registry import Kinds
from mcpwatch.runtimes import RUNTIMES
from mcpwatch.runtimes.kubernetes.spec import LEADER
from mcpwatch.runtimes.log_stamper import SECTION as LOGS
from mcpwatch.telemetry.spec import SECTION as TELEMETRY
from mcpwatch.web.spec import OBJECTIVES, WEB


def all_kinds() -> Kinds:
    """Every kind that a configuration may name."""
    return Kinds(
        checks=CHECKS,
        runtimes=RUNTIMES,
        proxies=PROXIES,
        notifiers=NOTIFIERS,
        clients=CLIENTS,
        sections=(ALERTS, TELEMETRY, LOGS, WEB, OBJECTIVES, BACKUP, LEADER, ("clients", ClientsSection)),
    )
