"""Members that bear one client at a time: found by their dying, again and again, of our own direct probe. Counts only.

Must not know how anything is probed.
"""

from __future__ import annotations

ENOUGH = 2
"""Ends of this kind in a row that prove it."""


class ProbeDeaths:
    """Counts ends that came right after a direct probe. `alone`: members that are probed through the proxy only, and why."""

    def __init__(self) -> None:
        self.alone: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._prints: dict[str, str] = {}

    def ended(self, member: str, words: str, *, probed: bool) -> None:
        """A running member ended by itself with last words; `probed`: just when it was probed past the proxy."""
        if not probed:
            self._count.pop(member, None)
            return
        self._count[member] = self._count.get(member, 0) + 1
        if self._count[member] >= ENOUGH:
            self.alone[member] = words or "it ended without a word"

    def keep(self, prints: dict[str, str]) -> None:
        """These members are in the plan, by fingerprint: what changed is given another chance."""
        changed = {name for name, known in self._prints.items() if prints.get(name) != known}
        for name in changed:
            self.alone.pop(name, None)
            self._count.pop(name, None)
        self._prints = dict(prints)
