"""Who calls, and what they may do. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["public", "read", "operate"]
RANK: dict[Role, int] = {"public": 0, "read": 1, "operate": 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller: `by` is written into facts; `csrf` is what a form of this session must carry; empty where none is needed."""

    role: Role
    by: str = ""
    csrf: str = ""
    remote: bool = True
    """Whether it came over TCP. The control socket belongs to the owner of the watchdog."""

    def may(self, role: Role) -> bool:
        """Whether this caller has at least that role."""
        return RANK[self.role] >= RANK[role]


OWNER = Caller("operate", remote=False)


def caller_of(scope: Any) -> Caller:
    """The caller that the guard has found; without a guard (the control socket) the owner."""
    return scope.get("mcpwatch.caller", OWNER)
