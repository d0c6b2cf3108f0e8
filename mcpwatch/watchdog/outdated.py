"""A member whose url, or wire, changed while it ran on: it may serve that after its next start. Pure.

An upgrade changes what a server serves, and at which path or by which wire; what runs is still the former until it is started anew.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation

_SETUP = frozenset({"config", "wrong_port"})
"""Causes by which something else is served than what is asked for."""


def started_since(member: MemberSnapshot, seen: Observation, found: Finding) -> Finding:
    """The finding; or one restart, where the member was well in its present run at what was its url then, and is not at this.

    The thresholds must be passed, and the url be its own: that of a route says nothing of whoever stands behind it.
    """
    if not (seen.formerly and seen.bad and seen is member.direct) or member.carried.watched:
        return found
    if found.cause not in _SETUP or found.rung is not None:
        return found
    wire, _, url = seen.formerly.partition(" ")
    former = url if wire == "auto" else f"{url} ({wire})"
    text = f"its url is another since it was started: it was well at {former}, and is not where it is asked now; {found.text}"
    return replace(found, text=text, rung="restart", tries=1)
