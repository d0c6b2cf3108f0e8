"""Planned restarts of members that have grown beyond their `restart.max_memory`, and a limit that is too small for one.

Must not know why memory grows, nor how it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Troubled
from mcpwatch.model.member import Phase
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.time import Instant
from mcpwatch.ports import Publish
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor


@dataclass(frozen=True, slots=True)
class Row:
    """Planned restarts that followed one another within two periods of the restart policy: how many, and when the last was."""

    count: int = 0
    last: Instant | None = None


def allowed(row: Row, policy: RestartPolicy, now: Instant) -> bool:
    """`intensity` of them in a row at once; after that one in a period, because they do not keep the member small."""
    return row.last is None or row.count < policy.intensity or now - row.last >= policy.period


def after(row: Row, policy: RestartPolicy, now: Instant) -> Row:
    """The row with one more, or a new one."""
    return Row(row.count + 1 if row.last is not None and now - row.last < 2 * policy.period else 1, now)


class Recycler:
    """Looks at what members use, and restarts them as planned. `actors` is the fleet's own table."""

    def __init__(self, actors: Mapping[str, MemberActor], clock: Clock, publish: Publish) -> None:
        self._actors, self._clock, self._publish = actors, clock, publish
        self._rows: dict[str, Row] = {}
        self._told: set[str] = set()

    def look(self) -> None:
        """Restart, as planned, every member whose whole tree has grown beyond the memory its policy allows."""
        self._rows = {name: row for name, row in self._rows.items() if name in self._actors}
        for name, actor in self._actors.items():
            limit = actor.spec.restart.max_memory
            used = actor.runtime.usage(name) if limit is not None and actor.state.phase is Phase.RUNNING else None
            if limit is not None and used is not None and used.rss > limit:
                self._grown(actor, f"{used.rss / 2**20:.0f} MiB of memory, more than {limit / 2**20:.0f} MiB")
            elif name in self._told and (limit is None or (used is not None and self._over(actor))):
                self._tell(actor, f"{name}: it keeps below the memory that it may use", cleared=True)

    def _over(self, actor: MemberActor) -> bool:
        row, now = self._rows.get(actor.spec.name, Row()), self._clock.now()
        return row.last is None or now - row.last >= 2 * actor.spec.restart.period

    def _grown(self, actor: MemberActor, grown: str) -> None:
        name, policy, now = actor.spec.name, actor.spec.restart, self._clock.now()
        row = self._rows.get(name, Row())
        if allowed(row, policy, now):
            self._rows[name] = after(row, policy, now)
            actor.tell(d.WantRestart(now, f"planned restart: {grown}"))
        elif name not in self._told:
            text = (
                f"{name}: {grown} again, {row.count} planned restarts in a row did not help: it leaks fast, or max_memory is less"
            )
            self._tell(actor, f"{text} than it needs; it is now restarted for it once in {policy.period:g}s")

    def _tell(self, actor: MemberActor, text: str, *, cleared: bool = False) -> None:
        name = actor.spec.name
        (self._told.discard if cleared else self._told.add)(name)
        level = "info" if cleared else "warning"
        self._publish(
            Troubled(at=self._clock.wall(), text=text, level=level, subject=f"memory of {name}", cleared=cleared, member=name)
        )
