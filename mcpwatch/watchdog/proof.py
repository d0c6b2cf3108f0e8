"""What came of a repair: proved, useless or void, by what was seen since it was done. It decides nothing of what follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcpwatch.model.member import Phase
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.ladder import Attempt, Outcome
from mcpwatch.watchdog.repair import Act
from mcpwatch.watchdog.snapshot import FleetSnapshot

AGAIN = 30.0
"""Seconds after a step was done for which the same may be seen again before it counts as useless. What is only held has longer."""


@dataclass(slots=True)
class Proof:
    """One repair on its way: what is known of each of its findings so far."""

    act: Act
    begun: Instant
    tried: dict[tuple[str, str], Attempt]
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict[tuple[str, str], Outcome])
    done: Instant | None = None

    def outcome(self, found: Finding, snapshot: FleetSnapshot, found_now: tuple[Finding, ...]) -> Outcome | None:
        """What came of the repair for one finding, if that can be said: by what was seen since it was done."""
        ready = [one for one in found_now if one.about == found.about and one.rung is not None and not one.hold]
        same = next((one for one in found_now if one.key == found.key), None)
        if same is None:
            return "proved" if well(snapshot, found, self.begun) else "void" if ready else None
        if self.done is None or same not in ready or same.seen_at is None or same.seen_at < self.done:
            return None
        return "useless" if snapshot.at - self.done >= AGAIN else None


def well(snapshot: FleetSnapshot, found: Finding, since: Instant) -> bool:
    """Whether what a finding is about was seen to be well by a probe that began after `since`."""
    kind, _, name = found.about.partition(":")
    members = [one for one in snapshot.members if (one.name if kind == "member" else one.route) == name]
    if any(member.phase is not Phase.RUNNING for member in members):
        return False
    seen = [member.own if kind == "member" else member.through for member in members]
    return all(
        one is None
        or one.result is None
        or (not one.failures and not one.ails and one.began_at is not None and one.began_at >= since)
        for one in seen
    )
