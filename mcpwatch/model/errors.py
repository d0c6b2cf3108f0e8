"""Every error that mcpwatch raises on purpose, in one small tree; what to say of an unknown name.

    McpwatchError
    ├── ConfigError          what a user wrote is wrong; carries every fault found      exit 3
    ├── NoDaemon             no watchdog answers on this state directory                exit 4
    ├── UsageError           a command was asked for something that does not exist      exit 2
    ├── AlreadyRunning       another watchdog owns this state directory                 exit 1
    ├── RuntimeFailed        a runtime could not start, stop or see a member
    ├── ProbeBroken          the prober itself failed: the outcome is unknown
    ├── NotifyFailed         a receiver did not take a notification (retryable or not)
    ├── ClientFileError      a client's file was left alone, and why
    └── StoreError           the state store cannot be read or written

A message says what failed, where, and what to do. It holds no secret. Errors are logged once, at the top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class McpwatchError(Exception):
    """The root: anything mcpwatch raises on purpose. `exit_code` is what the command line leaves with."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in what a user wrote: `path` in the document, `line` (1-based) in `file`, what to do."""

    path: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(McpwatchError):
    """What a user wrote is wrong. `faults` lists all of it, a line each; nothing was changed."""

    exit_code = 3

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class NoDaemon(McpwatchError):
    """No watchdog answers on the control socket."""

    exit_code = 4


class UsageError(McpwatchError):
    """A command named something that does not exist, or asked for what cannot be done."""

    exit_code = 2


class AlreadyRunning(McpwatchError):
    """Another watchdog holds the lock of this state directory."""

    exit_code = 1

    def __init__(self, pid: int | None, directory: str) -> None:
        self.pid = pid
        owner = f"pid {pid}" if pid else "another process"
        super().__init__(f"{directory}: already owned by {owner}; stop it with 'mcpwatch down' or use another --state-dir")


class RuntimeFailed(McpwatchError):
    """A runtime could not do what was asked. `permanent` failures are not retried before the spec changes."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(message)


class ProbeBroken(McpwatchError):
    """The prober itself broke; says nothing about the member."""


class NotifyFailed(McpwatchError):
    """A receiver did not take a notification. `retryable` tells the outbox whether trying again can help."""

    def __init__(self, message: str, *, retryable: bool, retry_after: float | None = None) -> None:
        self.retryable = retryable
        self.retry_after = retry_after
        super().__init__(message)


class ClientFileError(McpwatchError):
    """A client's file was left exactly as it was; the message says why."""


class StoreError(McpwatchError):
    """The state store cannot be opened, read or written."""


FEW = 24
"""A list of at most so many names is shown whole."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known word is near, else the list of known words, else nothing."""
    names = sorted(known)
    import difflib

    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names and len(names) <= FEW else ""
