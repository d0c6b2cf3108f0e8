"""A member whose url, or wire, changed while it ran on, and that was never well there. Pure.

The change may be a mistake, or come with an upgrade that what runs has not taken up. Nothing tells which, and what runs was well
where it was asked before: a person says whether to take the change back or to start it anew.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation

_SETUP = frozenset({"config", "wrong_port"})
"""Causes by which something else is served than what is asked for."""


def changed_since(member: MemberSnapshot, seen: Observation, found: Finding) -> Finding:
    """The finding; with what changed, where the member was well in its present run at what was its url then, and is not at this.

    The thresholds must be passed, and the url be its own: that of a route says nothing of whoever stands behind it.
    """
    if not (seen.formerly and seen.bad and seen is member.direct) or found.cause not in _SETUP or found.rung is not None:
        return found
    wire, _, url = seen.formerly.partition(" ")
    former = url if wire == "auto" else f"{url} ({wire})"
    text = f"it is asked elsewhere since its configuration changed: it was well at {former}, and is not where it is asked now"
    if member.carried.watched:
        return replace(found, text=f"{text}; {found.text}")
    hold = (
        "left to a person: correct its url or transport; where it serves that only when it is started anew,"
        f" 'mcpwatch restart {member.name}'"
    )
    return replace(found, text=f"{text}; {found.text}", hold=hold)
