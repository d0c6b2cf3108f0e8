"""The task of a swarm that this watchdog itself is, where it is one: whether the swarm still wants it, asked before each act.

Must not know: what the act is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, cast

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.engine import Engine
from mcpwatch.runtimes.docker.refusal import EngineAway
from mcpwatch.runtimes.swarm.task import Task, read_task

VARIABLE = "MCPWATCH_SWARM_TASK"
"""Names the watchdog's own task: `{{.Task.ID}}` in a stack. Unset, it is no task of a swarm."""


class OwnTask:
    """The fence of a watchdog that the swarm may start elsewhere: the managers know which of its tasks is wanted (ADR 0138)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Touches no engine yet."""
        self._id = environment.get(VARIABLE, "")
        self._engine: Engine | None = None
        self._asking = threading.Lock()

    async def check(self) -> None:
        """Return where this watchdog may act: at once where it is no task. Raises `RuntimeFailed` where another one may, or nobody
        can tell."""
        if not self._id:
            return
        task = await asyncio.to_thread(self._look)
        if task.desired != "running" or task.over:
            raise RuntimeFailed("not done: the swarm has replaced the task of this watchdog, and another one watches this fleet")

    def close(self) -> None:
        """Let go of the engine. Blocking."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _look(self) -> Task:
        """The task as the managers have it now: without a majority of them this is refused, like every write."""
        with self._asking:
            if self._engine is None:
                self._engine = Engine()
                self._engine.connect()
            try:
                return _read(self._engine, self._id)
            except EngineAway:
                self._engine.connect()
                return _read(self._engine, self._id)


def _read(engine: Engine, task: str) -> Task:
    with engine.calling("look whether the swarm still wants this watchdog") as api:
        return read_task(cast("dict[str, Any]", api.inspect_task(task)))
