"""The managers through which services were ever placed from this state directory: the next watchdog looks there for what is left.

Owns one small file, `<state>/run/swarm-places.json`. Must not know services. Holds no secret.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

Place = tuple[str | None, str | None]
"""Host and context of an engine."""


class Places:
    """The known places."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "run" / "swarm-places.json"

    def load(self) -> frozenset[Place]:
        """All of them; a file that cannot be read knows none."""
        try:
            found: object = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return frozenset()
        pairs = cast("list[Any]", found) if isinstance(found, list) else []
        return frozenset((pair[0], pair[1]) for pair in pairs if _is_place(pair))

    def add(self, place: Place) -> None:
        """Remember one more."""
        self.keep(self.load() | {place})

    def keep(self, places: Iterable[Place]) -> None:
        """Know these and no others. A disk that takes nothing costs a later sweep, not the start that is under way."""
        wanted = frozenset(places)
        if wanted == self.load():
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(sorted(wanted, key=str)), encoding="utf-8")
            fresh.replace(self._path)


def _is_place(pair: object) -> bool:
    return isinstance(pair, list) and len(cast("list[object]", pair)) == 2 and all(
        word is None or isinstance(word, str) for word in cast("list[object]", pair)
    )  # fmt: skip
