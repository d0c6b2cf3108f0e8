"""Whether a process of ours is dead or dying: at once when asked, and as soon as it happens.

Owns descriptors of `/proc` and pidfds. Must not know pipes or lines.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

FRESH = 0.001
"""Seconds that one look is good for: a quiet link looks before every line, a busy one does not pay for it."""

_KILL = 1 << (signal.SIGKILL - 1)
_STATE, _PENDING = 0, 28


class ProcessLiveness:
    """Looks whether a process still runs, a few microseconds each. A signal that is under way counts as death:
    a line given to a process that was killed but has not noticed yet would be lost."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY) if pid and sys.platform == "linux" else -1
        self._looked = 0.0

    def dying(self) -> bool:
        """Whether it is dead or about to be, as far as this system tells."""
        now = time.monotonic()
        if self._descriptor < 0 or now - self._looked < FRESH:
            return False
        self._looked = now
        try:
            text = os.pread(self._descriptor, 1024, 0)
        except ProcessLookupError:
            return True
        fields = text[text.rindex(b")") + 2 :].split(b" ", _PENDING + 1)
        return fields[_STATE] in {b"Z", b"X"} or int(fields[_PENDING]) & _KILL != 0

    def close(self) -> None:
        """Look no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


async def death(pid: int) -> None:
    """Return when the process has ended, before it is reaped (so that its group id still belongs to it)."""
    loop = asyncio.get_running_loop()
    if not hasattr(os, "pidfd_open"):
        await loop.run_in_executor(None, _wait_unreaped, pid)
        return
    descriptor = os.pidfd_open(pid)
    ended = loop.create_future()
    try:
        loop.add_reader(descriptor, lambda: ended.done() or ended.set_result(None))
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _wait_unreaped(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
