"""What is told of logging itself: that it stopped, that it goes on, and a member that writes faster than lines can be kept."""

from __future__ import annotations

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Troubled
from mcpwatch.ports import Publish

TELL_FLOOD = 30.0
"""Seconds between two facts about one flood."""
SUBJECT = "logs"


class ToldTrouble:
    """Publishes each trouble when it begins and when it is over."""

    def __init__(self, publish: Publish, clock: Clock) -> None:
        self._publish = publish
        self._clock = clock
        self._trouble = ""
        self._lost: dict[str, int] = {}
        self._flood_told: dict[str, float] = {}

    def trouble(self, trouble: Exception | None) -> None:
        """Tell that logging stopped, and that it goes on; each once."""
        words = str(trouble) if trouble else ""
        if bool(words) == bool(self._trouble):
            return
        text = words or "members' output is logged again"
        level = "error" if words else "info"
        self._publish(Troubled(at=self._clock.wall(), text=text, level=level, subject=SUBJECT, cleared=not words))
        self._trouble = words

    def floods(self, floods: tuple[tuple[str, int], ...]) -> None:
        """Tell a flood when it begins, now and then while it lasts, and when it is over. The journal has a line for each gap."""
        now = self._clock.wall()
        for member, lines in floods:
            subject = f"logs of {member}"
            if lines:
                self._lost[member] = lines
                if now - self._flood_told.get(member, 0.0) < TELL_FLOOD:
                    continue
                self._flood_told[member] = now
                text = f"{member}: writes faster than its output can be kept; {lines} lines were not logged so far"
                self._publish(Troubled(at=now, text=text, level="warning", subject=subject, member=member))
            elif (dropped := self._lost.pop(member, None)) is not None:
                self._flood_told.pop(member, None)
                text = f"{member}: its output is kept again; {dropped} lines were not logged"
                self._publish(Troubled(at=now, text=text, subject=subject, member=member, cleared=True))
