"""Becoming the code that is on disk now: first rehearsed in a process of its own, then by exec.

A new version that does not start, or that refuses the configuration, must not cost the watchdog that works. See ADR 0025.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from mcpwatch.model.errors import McpwatchError

REHEARSAL = "--rehearse"
"""What makes `mcpwatch up` load code and configuration, and go before it takes anything."""
REHEARSAL_WAIT = 60.0
"""Seconds that this is given."""
HELD = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Signals that are kept, from the exec on, until the new program can answer them."""


async def rehearse(argv: Sequence[str] | None = None) -> None:
    """Start the new code as the upgrade would, up to where it would take over. Raises `McpwatchError` with what it said."""
    command = _command() if argv is None else argv
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            REHEARSAL,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise _refused(f"{command[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(REHEARSAL_WAIT):
            _, said = await child.communicate()
    except TimeoutError:
        raise _refused(f"the new code was not ready to start after {REHEARSAL_WAIT:g}s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or [f"it ended with code {child.returncode}"]
        raise _refused(lines[-1].removeprefix("mcpwatch: "))


def exec_anew() -> None:
    """Become the code that is on disk now: same command, same process number. Does not return."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    command = _command()
    os.execv(command[0], command)  # noqa: S606


def answer_signals() -> None:
    """Take what was held since the exec, now that there is somebody to answer."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _command() -> list[str]:
    return [sys.executable, "-m", "mcpwatch", *sys.argv[1:]]


def _refused(why: str) -> McpwatchError:
    return McpwatchError(f"no upgrade, the running watchdog stays: {why}")
