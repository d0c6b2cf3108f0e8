"""Which run of which container is which generation, on disk: `<state>/docker/<member>.json`. Holds no secret.

Labels cannot change after creation, so a container that is started again keeps the generation it was created for; this file knows
better. It is a memory aid: without it the label is believed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Record:
    """The latest incarnation of one member."""

    member: str
    container: str
    generation: int


class Records:
    """The records of one runtime, in a directory of their own. A failing disk costs the memory, never a member."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def any(self) -> bool:
        """Whether a container was ever started from this state directory."""
        return next(self._directory.glob("*.json"), None) is not None if self._directory.is_dir() else False

    def load(self) -> dict[str, Record]:
        """All readable records by member."""
        found: dict[str, Record] = {}
        for path in sorted(self._directory.glob("*.json")):
            try:
                record = Record(**json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError):
                continue
            found[record.member] = record
        return found

    def write(self, record: Record) -> None:
        """Keep a record, replacing the member's last one atomically."""
        path = self._path(record.member)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(record)), encoding="utf-8")
            fresh.replace(path)
        except OSError:
            return

    def drop(self, member: str) -> None:
        """Forget a member."""
        self._path(member).unlink(missing_ok=True)

    def _path(self, member: str) -> Path:
        return self._directory / f"{quote(member, safe='')}.json"
