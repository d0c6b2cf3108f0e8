"""One thing that is wrong, as diagnosed: its cause, the member or route it is about, and the repair that fits. Frozen data.

Must not know what was tried before (`ladder`) nor how a repair is done (`mend`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.doubt import Doubt

USELESS = 2
"""Attempts of one step that may be proved useless before the next step; of a resume, which takes effect at once or never, one."""

REJOINED = frozenset({"network_disconnected"})
"""Causes told by an engine that its runtime can undo, by a resume."""
CUT_OFF = REJOINED | {"network_left"}
"""Causes told by an engine of one that runs and cannot be reached: another start leaves it where it is."""

Rung = Literal["reconnect", "resume", "restart", "restart_proxy", "quarantine"]
"""`reconnect`: have the proxy try its upstream now. `resume`: let stopped processes, or a paused container, run again.
`quarantine`: stop repairing and tell a person."""


DOWN = "the member is down"
"""All that is told of one that is down, where nothing says how it ended: somebody may have ended it for a repair."""

UNKILLABLE = "unkillable"
"""The cause of one that is to stop and cannot be stopped."""


def undoing(cause: str) -> Rung | None:
    """The rung by which a runtime undoes what its engine told, where it can."""
    return "resume" if cause in REJOINED else None


@dataclass(frozen=True, slots=True)
class Finding:
    """One named cause. `about` (`member:NAME` or `route:NAME`) and `cause` are what attempts are counted by.

    `subject` is repaired by `rung`, the lowest that fits (`None`: no repair helps). `hold` says why it has to wait, `until` how
    long at most. `seen_at` and `seen_until`: when the probe began and ended that it rests on. `suspect`: who is tried when the
    subject turns out not to be it. `look_at`: what a person should look at when repairs do not help. `tries`: how often
    each step may be useless.
    """

    cause: str
    subject: str
    text: str
    about: str
    evidence: tuple[str, ...] = ()
    rung: Rung | None = None
    affects: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    hold: str = ""
    until: Instant | None = None
    seen_at: Instant | None = None
    seen_until: Instant | None = None
    suspect: str = ""
    look_at: str = ""
    tries: int = USELESS
    unsure: Doubt = ""
    """Why what it rests on is no reason for a restart yet."""
    unprovoked: bool = False
    """Nothing changed that would bring the trouble: when it is soon back after a repair, that mends nothing."""
    unserved_since: Instant | None = None
    """When the present run of the proxy began, which never served what this is about: a restart that began it was a try for it."""

    @property
    def key(self) -> tuple[str, str]:
        """What attempts are counted by."""
        return self.about, self.cause


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing can be concluded yet: probe a member and its route now, side by side.

    `deep`: by calls, not by lists alone. `brief`: with no more time than one needs that is well.
    """

    member: str
    deep: bool = False
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What one snapshot tells: the causes, the farthest-reaching first, and where to look again before more is said."""

    found: tuple[Finding, ...] = ()
    look_again: tuple[LookAgain, ...] = ()
