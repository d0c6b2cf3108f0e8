"""Writes member logs as the watchdog's log collector does: stamped lines, rotation by one rename."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mcpwatch import journal


class MemberLog:
    """One stream of one member under `logs`."""

    def __init__(self, logs: Path, member: str = "fetch", stream: str = "stderr", at: datetime | None = None) -> None:
        self.path = logs / member / f"{stream}.log"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.at = at or datetime.now(UTC)
        self.count = 0

    def write(self, *texts: str, apart: timedelta = timedelta(microseconds=1)) -> None:
        """Append stamped lines."""
        data = b""
        for text in texts:
            self.at += apart
            data += f"{self.at:%Y-%m-%dT%H:%M:%S}.{self.at.microsecond:06d}Z {text}\n".encode()
        with self.path.open("ab") as file:
            file.write(data)
        self.count += len(texts)

    def rotate(self) -> Path:
        """Rename the live file; the next write begins a new one."""
        first = self.path.read_bytes()[: journal.STAMP].decode()
        rotated = self.path.with_name(journal.rotated_name(self.path.stem, first))
        self.path.rename(rotated)
        return rotated
