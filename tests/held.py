"""Callbacks that held a loop while a test ran, in this process or in one that it started: told to a file of this worker."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mcpwatch
from mcpwatch import slow

LIMIT = 0.1
"""Seconds of processor. `MCPWATCH_SLOW_CALLBACK` gives another one; 0 measures nothing."""
_OURS = str(Path(mcpwatch.__file__).parent)


class Held:
    """Measures from `begin` to `end`; `fresh` are the lines that came since it was asked last."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._read = 0
        self._undo: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Name a file of this worker to everything that is started from now on."""
        limit = slow.asked(os.environ)[0] if slow.VARIABLE in os.environ else LIMIT
        if limit:
            handle, name = tempfile.mkstemp(prefix="mcpwatch-held-")
            os.close(handle)
            self._file = Path(name)
            os.environ[slow.VARIABLE] = f"{limit}:{name}"
            self._undo = slow.watch(tell=self._tell, counts=ours)

    def end(self) -> None:
        """Measure no more."""
        self._undo()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def fresh(self) -> list[str]:
        """What was told since the last time."""
        if self._file is None:
            return []
        data = self._file.read_bytes()[self._read :]
        self._read += len(data)
        return data.decode(errors="replace").splitlines()

    def _tell(self, line: str) -> None:
        """Of this process: but for a garbage collection, which walks through what tests and their tools made."""
        if self._file is not None and "garbage collection" not in line:
            with self._file.open("a", encoding="utf-8") as out:
                out.write(line + "\n")


def ours(handle: Any) -> bool:
    """Whether a callback is the program's: a test computes as long as it likes."""
    call: Any = handle._callback
    owner: object = getattr(call, "__self__", None)
    work: Any = cast("asyncio.Task[object]", owner).get_coro() if isinstance(owner, asyncio.Task) else call
    code = getattr(work, "cr_code", None) or getattr(work, "__code__", None)
    return str(getattr(code, "co_filename", "")).startswith(_OURS)
