"""The last words of a member: what of its stderr goes with the news of its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mcpwatch import journal

TAIL = 20
"""Lines of stderr that go with the news of an exit."""
TAIL_WIDTH = 500
"""Characters of each of them."""


class Tail:
    """Reads journals of the state directory `root`; `redact` takes the secrets out of a line."""

    def __init__(self, root: Path, redact: Callable[[str], str]) -> None:
        self._root = root
        self._redact = redact

    def of(self, member: str) -> tuple[str, ...]:
        """The last lines a member wrote to stderr, without secrets."""
        lines = (self._redact(line.text) for line in journal.read(self._root, member, ("stderr",), TAIL))
        return tuple(line[:TAIL_WIDTH] for line in lines if line.strip())
