"""A program of the user's: the notification as JSON on its standard input, the short of it in its environment. No shell.

Its exit code says what became of it: 0 delivered, 65 (EX_DATAERR) it never can be, anything else try again: a program that fails
says by that nothing of the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import Any, Literal

from pydantic import Field, SecretStr

from mcpwatch.alerts.book import Notification
from mcpwatch.alerts.message import document
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.model.errors import NotifyFailed
from mcpwatch.registry import Kind

NEVER = 65
"""The exit code by which a program refuses a notification for good."""
END_WAIT = 2.0
"""Seconds to wait for a killed program."""
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
"""All that it gets of our own environment, which may hold tokens."""


class ExecSpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["exec"] = "exec"
    command: list[str] = Field(min_length=1, description="The program and its arguments.")
    env: dict[str, SecretStr] = Field(default_factory=dict, description="Environment to add.")


class Exec(Plain):
    """One program."""

    def __init__(self, spec: ExecSpec) -> None:
        self._spec = spec

    async def notify(self, notification: Notification) -> None:
        """Run it once. Whatever is left of it after the timeout is killed with its whole group."""
        told = document(notification)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._spec.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._environment(told),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            words = f"cannot run {self._spec.command[0]}: {getattr(error, 'strerror', None) or error}"
            raise NotifyFailed(words, retryable=isinstance(error, OSError)) from error  # it may be in the middle of an upgrade
        try:
            async with asyncio.timeout(self._spec.timeout):
                await process.communicate(json.dumps(told).encode())
        except TimeoutError as error:
            raise NotifyFailed(f"{self._spec.command[0]} did not end within {self._spec.timeout:g} s", retryable=True) from error
        finally:
            await _end(process)
        if process.returncode:
            words = f"{self._spec.command[0]} ended with code {process.returncode}"
            raise NotifyFailed(words, retryable=process.returncode != NEVER)

    def _environment(self, told: dict[str, Any]) -> dict[str, str]:
        short = {f"MCPWATCH_{word.upper()}": str(told[word]) for word in ("id", "reason", "state", "severity", "title")}
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**inherited, **short, **{name: value.get_secret_value() for name, value in self._spec.env.items()}}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still lives of the program's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WAIT):
                await process.wait()


EXEC: Kind[Notifier] = Kind("exec", ExecSpec, Exec, "A program of yours")
