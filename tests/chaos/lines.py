"""What the log of a member must be, told from its lines alone: each line of each process from 0 on, once and in order. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

NO_ROOM = re.compile(r"\[mcpwatch: (?P<lines>\d+) lines were not logged, the disk was full\]")
"""What the log says where lines are missing."""


class LoggedLines:
    """Counts lines `PID@MOMENT NUMBER`, and holds each against those before it."""

    def __init__(self) -> None:
        self.lives: Counter[str] = Counter()
        """The next number of each process."""
        self.untold = 0
        """Lines that the log says are missing, for which no gap was seen yet."""
        self._since: set[str] = set()
        """Processes of which there was a line since the log last said that some are missing: their gap is behind them."""

    def take(self, text: str) -> None:
        """The next line. Raises `AssertionError` for one that was there before, or that others should come before."""
        if (mark := NO_ROOM.fullmatch(text)) is not None:
            self.untold += int(mark["lines"])
            self._since.clear()
            return
        life, number = text.split()
        gap = int(number) - self.lives[life]
        assert gap >= 0, f"twice: {text} after {self.lives[life] - 1}"
        assert gap == 0 or (gap <= self.untold and life not in self._since), f"missing: {text} after {self.lives[life] - 1}"
        self.untold -= gap
        self.lives[life] = int(number) + 1
        self._since.add(life)

    def fewer(self, answered: Mapping[int, int]) -> list[str]:
        """The processes of which there are fewer lines than answers, by more than the log says."""
        written = Counter[int]()
        for life, count in self.lives.items():
            written[int(life.partition("@")[0])] += count
        short = {pid: count - written[pid] for pid, count in answered.items() if written[pid] < count}
        if sum(short.values()) <= self.untold:
            return []
        return [f"{pid}: {written[pid]} of {answered[pid]}" for pid in short]


def shortfall(texts: Iterable[str], answered: Mapping[int, int]) -> list[str]:
    """Who wrote fewer lines than answers. Raises `AssertionError` for a line that is there twice or missing."""
    lines = LoggedLines()
    for text in texts:
        lines.take(text)
    return lines.fewer(answered)
