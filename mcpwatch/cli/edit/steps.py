"""The steps of a command, each told as it ends: lines for people, one object for programs."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, paint
from mcpwatch.units import spell_seconds

KILL_AT = "MCPWATCH_TEST_KILL_AT"
"""Environment variable for tests: the name of the step at whose end the command kills itself with SIGKILL."""

_MARKS = {"ok": ("✓", "green"), "skipped": ("-", "grey"), "failed": ("✗", "red"), "undone": ("↺", "yellow")}


@dataclass(slots=True)
class Steps:
    """What a command did so far. With `as_json` nothing is printed before the end."""

    name: str
    as_json: bool
    done: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    began: float = field(default_factory=time.monotonic)

    def tell(self, step: str, text: str, how: str = "ok") -> None:
        """One step has ended: `how` is `ok`, `skipped`, `failed` or `undone`."""
        now = time.monotonic()
        self.done.append({"step": step, "result": how, "text": text, "seconds": round(now - self.began, 3)})
        if not self.as_json:
            mark, colour = _MARKS[how]
            took = f" ({spell_seconds(round(now - self.began, 1))})" if now - self.began >= 1 else ""
            say(f"{paint(mark, colour, on=coloured())} {step}: {text}{took}")
        self.began = now
        if how == "ok":
            self.reached(step)

    def reached(self, step: str) -> None:
        """The end of a step of which nothing is told: only the tests of killed commands know it."""
        if os.environ.get(KILL_AT) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self, **more: Any) -> None:
        """Print the whole as JSON, when that was asked for."""
        if self.as_json:
            say_json({"name": self.name, **more, "steps": self.done})
