"""The top-level key `backup`, and the service that makes a backup at its times. A backup that fails is told and tried next time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, SecretStr

from mcpwatch.app.paths import StatePaths
from mcpwatch.clock import Clock
from mcpwatch.model import cron
from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.registry import KindSpec

if TYPE_CHECKING:  # with it come archives and the reading of configurations; a daemon that makes no backups does without
    from mcpwatch.app.backup.create import BackupSource

LONGEST_WAIT = 3600.0
"""Seconds after which the clock is looked at again: it may have been set."""


Cron = Annotated[str, AfterValidator(cron.checked)]


class BackupSpec(KindSpec):
    """When backups are made by the running watchdog, where they go, and how many are kept."""

    cron: Cron = Field("0 3 * * *", description="Cron fields or a name such as @daily, local time.")
    keep: int = Field(7, ge=1, le=1000, description="How many are kept; the oldest go.")
    dir: str | None = Field(None, description="Directory for them. Default: `backups/fleet` in the state directory.")
    passphrase: SecretStr | None = Field(None, description="Encrypts files with secrets. Without one those are left out.")

    def directory(self, base: Path, paths: StatePaths) -> Path:
        """Where they go; a relative `dir` is below the configuration's own directory."""
        return paths.backups if self.dir is None else base / Path(self.dir).expanduser()


SECTION = ("backup", BackupSpec)


class ScheduledBackup:
    """Makes backups at their times. `source` is asked anew each time; `publish` is told of each."""

    def __init__(
        self, spec: BackupSpec | None, source: Callable[[], BackupSource], clock: Clock, publish: Callable[[Fact], object]
    ) -> None:
        self._spec = spec
        self._source = source
        self._clock = clock
        self._publish = publish
        self._changed = asyncio.Event()

    def retune(self, spec: BackupSpec | None) -> None:
        """Take another section."""
        if spec != self._spec:
            self._spec = spec
            self._changed.set()

    async def run(self) -> None:
        """Wait for each time, and make one; for ever."""
        while True:
            self._changed.clear()
            due = self._due()
            wait = LONGEST_WAIT if due is None else min(LONGEST_WAIT, due - self._clock.wall())
            try:
                async with asyncio.timeout(max(0.0, wait)):
                    await self._changed.wait()
            except TimeoutError:
                if due is not None and self._clock.wall() >= due:
                    await self._make()

    def _due(self) -> float | None:
        if self._spec is None:
            return None
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        following = cron.parse(self._spec.cron).following(now, lambda at: at.astimezone())
        return following.timestamp() if following else None

    async def _make(self) -> None:
        spec, at = self._spec, self._clock.wall()
        if spec is None:
            return
        from mcpwatch.app.backup.archive import BackupError

        try:
            text = await asyncio.to_thread(self._made, spec)
            self._publish(Troubled(at=at, text=text, level="info", subject="backup", cleared=True))
        except BackupError as error:
            self._publish(Troubled(at=at, text=f"no backup was made: {error}", level="error", subject="backup"))

    def _made(self, spec: BackupSpec) -> str:
        from mcpwatch.app.backup.create import create, prune

        source = self._source()
        directory = spec.directory(source.config.absolute().parent, source.paths)
        secret = spec.passphrase.get_secret_value() if spec.passphrase else None
        path = create(source, directory, secret, self._clock.wall())
        gone = prune(directory, spec.keep)
        return f"backup made: {path}" + (f", {len(gone)} old removed" if gone else "")
